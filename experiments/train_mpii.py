"""Train on MPII, as section 4.1 of the paper, or on the synthetic set that needs no download.

    python -m experiments.train_mpii --config paper_mpii --data datasets/mpii
    python -m experiments.train_mpii --config first_run

The first is the paper's training: K = 8, 256x256, 120 epochs of RMSprop at batch 16, PCKh@0.5 on the validation
split after every epoch; 89.1 in the paper's Table 1 (single crop). The second takes minutes on a laptop's CPU and
ends with a small network, its curves and a picture of people it never saw. `--config` is a file of
experiments/configs; any other flag changes one field of it, or without a config of the paper's training. `--show FILE`
draws what the network would be shown.
"""

from experiments.command import run as command
from experiments.flags import experiment_of, parser_of, show
from pose_regression.evaluation.paper import format_table
from pose_regression.training.experiment import Mpii
from pose_regression.wording import quantity


def main() -> None:
    options = parser_of(__doc__, Mpii, output="runs/mpii").parse_args()
    experiment, output, how = experiment_of(options, Mpii)
    if options.show:
        return show(experiment, options.show)

    from pose_regression.evaluation.sheets import save_predictions
    from pose_regression.training.people import load_people
    from pose_regression.training.run import predict_best, run

    directory = run(experiment, output, **how)
    people = load_people(experiment.data)
    pixels, skeleton = predict_best(directory, people.validation)
    picture = directory / "predictions.png"
    save_predictions(picture, people.validation, pixels, skeleton)
    everybody = quantity(len(people.validation), "person")
    print(f"\nPCKh@0.5 on {everybody} to validate on, single crop, best epoch\n")
    print(format_table([("best.weights.h5", people.score(people.validation, pixels))]))
    print(f"\nweights  {directory / 'best.weights.h5'}\ncurves   {directory / 'curves.png'}\npicture  {picture}")


if __name__ == "__main__":
    command(main)
