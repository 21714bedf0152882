# The server of docs/docker.md: docker build -t pose . && docker run --rm -p 127.0.0.1:8600:8600 pose
FROM python:3.12-slim
WORKDIR /app
COPY setup.py pyproject.toml LICENSE ./
COPY weights weights
COPY pose_regression pose_regression
COPY experiments experiments
RUN pip install --no-cache-dir --editable '.[serve]' ai-edge-litert && useradd --create-home pose
USER pose
ENV PYTHONUNBUFFERED=1
EXPOSE 8600
HEALTHCHECK --interval=30s --timeout=5s --start-period=120s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8600/health')"]
CMD ["python", "-m", "experiments.serve", "--host", "0.0.0.0", "--port", "8600"]
