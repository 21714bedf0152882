"""Packaging of pose_regression. `experiments` is not installed: it runs from a clone."""

from setuptools import find_packages, setup

setup(
    name="pose-regression",
    version="0.2.0",
    description="Human pose regression with soft-argmax and context maps (Luvizon et al. 2019), in Keras 3",
    license="MIT",
    packages=[*find_packages(include=["pose_regression*"]), "pose_regression.shipped_weights"],
    package_dir={"pose_regression.shipped_weights": "weights"},
    package_data={
        "pose_regression.shipped_weights": [
            "*.weights.h5", "soft_labels.csv.gz", "people.tflite", "LICENSE-people", "NOTICE", "SHA256", "README.md",
        ],
        "pose_regression.inference.demo": ["index.html", "demo.css", "demo.js", "example.jpg"],
    },
    python_requires=">=3.11,<3.14",
    install_requires=[
        "keras>=3.15", "tensorflow>=2.20", "numpy>=1.26", "scipy>=1.13", "h5py>=3.11", "pillow>=11", "matplotlib>=3.9",
        "tensorboard>=2.20", "psutil>=6", "filelock>=4.3",
    ],
    extras_require={
        "gpu": ["tensorflow[and-cuda]>=2.20"],
        "export": ["tf2onnx>=1.17", "onnx>=1.20", "onnxruntime>=1.24", "openvino>=2025.0", "ai-edge-litert>=2.0"],
        "keras-hub": ["keras-hub>=0.29"],
        "serve": ["fastapi>=0.115", "uvicorn>=0.30"],
        "video": ["av>=15"],
        "heic": ["pillow-heif>=0.22"],
        "demo": ["opencv-python>=4.10", "fastapi>=0.115", "uvicorn>=0.30"],
        "test": [
            "pytest>=8", "fastapi>=0.115", "uvicorn>=0.30", "jax>=0.7", "nbclient>=0.10", "ipykernel>=6.29",
        ],
        "hosts": ["jax>=0.7"],
        "torch": ["torch>=2.9"],
        "ray": ["ray[data]>=2.60"],
        "jupyter": ["jupyterlab>=4.3", "ipykernel>=6.29"],
        "dev": [
            "nox>=2024.10", "ruff>=0.9", "mypy>=1.14", "pre-commit>=4", "playwright>=1.50",
            "mkdocs-material>=9.6", "mkdocstrings[python]>=0.29",
        ],
    },
)  # fmt: skip
