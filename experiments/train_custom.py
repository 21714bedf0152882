"""Train on one's own joints and pictures: an annotation file in the COCO keypoints format and a folder.

    python -m experiments.train_custom --annotations coco.json --images DIR --recipe quick --blocks 4 --width 288 \\
        --input-size 128 --weights small --output runs/custom
    python -m experiments.train_custom --annotations person_keypoints_train2017.json --images train2017 \\
        --validation person_keypoints_val2017.json --validation-images val2017

The first suits some hundred to some thousand pictures: a small network that starts from weights for other joints, of
which all fits but the heat maps of joints that it has no name of. 450 rendered people with 5 joints, 8
epochs: 68 PCK, and 4 without --weights (with K = 2 and the `small` of before). The second is the paper's network and
recipe from scratch, and wants a GPU. `pose_regression/data/coco.py` says what is read from the file, how left and
right are told, and what is skipped.

Without --validation the last tenth of the file's pictures (`--holdout`) is kept for it: the last and not any, since
neighbours in a file are often frames of one film. The score is PCK@0.1 of the box: a joint is right within 0.1 of the
longer side of its person's box, hidden joints included, ones that are not labelled left out. Ends with
`best.weights.h5`, which carries the joints, so that `experiments.predict` and `PosePredictor` need nothing else.
"""

from experiments.command import run as command
from experiments.flags import experiment_of, parser_of, show
from pose_regression.training.experiment import Coco
from pose_regression.wording import quantity


def main() -> None:
    options = parser_of(__doc__, Coco, output="runs/custom").parse_args()
    experiment, output, how = experiment_of(options, Coco)
    if options.show:
        return show(experiment, options.show)

    from pose_regression.evaluation.sheets import save_predictions
    from pose_regression.training.people import load_people
    from pose_regression.training.run import predict_best, run

    directory = run(experiment, output, **how)
    people, weights = load_people(experiment.data), directory / "best.weights.h5"
    found, skeleton = predict_best(directory, people.validation)
    picture = directory / "predictions.png"
    save_predictions(picture, people.validation, found, skeleton, annotated=skeleton)
    scores = people.score(people.validation, found)
    everybody = quantity(len(people.validation), "person")
    print(f"\n{people.title} on {everybody} to validate on, best epoch\n")
    width = max(map(len, scores))
    print(*(f"  {name:<{width}}  {value:5.1f}" for name, value in scores.items()), sep="\n")
    print(f"\nweights  {weights}\ncurves   {directory / 'curves.png'}\npicture  {picture}")
    print(f"use      python -m experiments.predict PHOTO --weights {weights}")


if __name__ == "__main__":
    command(main)
