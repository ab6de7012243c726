"""An interrupted training continues to the same weights, and never from the state of another one."""

import fcntl
import json
import logging
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F

from manifold_capacity.models import networks
from manifold_capacity.models.checkpoints import load_metadata, load_model, load_state, save_state
from manifold_capacity.models.preprocess import Preprocess, to_batch
from manifold_capacity.training import resume
from manifold_capacity.training.descent import Descent
from manifold_capacity.training.image_set import ImageSet


def with_running_means_and_dropout(n_channels, n_classes):
    return nn.Sequential(
        nn.Conv2d(n_channels, 8, 3),
        nn.BatchNorm2d(8),
        nn.ReLU(inplace=True),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(288, n_classes),
    )


def test_a_signal_saves_and_the_next_run_goes_on_with_the_same_bits(
    run, tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr(networks, "SmallCNN", with_running_means_and_dropout)
    images, labels = run.images, run.labels
    changes = {
        "train_data": (images[:30], labels[:30]),
        "test_data": (images[:10], labels[:10]),
        "recipe": {"epochs": 2, "batch_size": 8},
    }
    expected = run("whole", **changes)
    # Measured without dropout and with the running means
    with torch.no_grad():
        pixels = Preprocess((1, 8, 8), [0.3], [0.4])(to_batch(images[:10], torch.device("cpu")))
        outputs = load_model(expected)[0](pixels)
    test_loss = F.cross_entropy(outputs, torch.from_numpy(labels[:10])).item()
    assert float(run.rows("whole")[-1]["test_loss"]) == pytest.approx(test_loss, rel=1e-5)
    caplog.set_level(logging.INFO)
    for call in (2, 4, 1):
        message = r"SIGTERM: stopped in epoch \d after step \d of 4; .*run again to continue"
        with run.interrupted(call, match=message):
            run("parts", **changes)
        assert not (tmp_path / "parts" / expected.name).exists()
    assert run("parts", **changes).read_bytes() == expected.read_bytes()
    assert run.rows("parts") == run.rows("whole")
    assert not (tmp_path / "parts/resume").exists()
    resumed = [message.split(": ")[1] for message in caplog.messages if "resuming" in message]
    assert resumed == [
        "epoch 1 after step 2 of 4",
        "epoch 2 after step 2 of 4",
        "epoch 2 after step 3 of 4",
    ]
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


OWN = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, n_classes):
        super().__init__()
        self.first, self.second = nn.Linear(64, 64), nn.Linear(64, 64)
        self.second.weight = self.first.weight
        self.norm, self.drop, self.head = nn.LazyBatchNorm1d(), nn.Dropout(0.5), nn.LazyLinear(n_classes)
        self.mix = torch.randn(64, 64)  # not in the state

    def forward(self, x):
        return self.head(self.drop(self.norm(self.second(self.first(x.flatten(1) @ self.mix)))))
"""


@pytest.mark.filterwarnings("ignore:Lazy modules")
def test_a_users_network_goes_on_with_the_same_bits(run, tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    network = {"name": "own", "n_classes": 10, "image_shape": (1, 8, 8)}
    changes = {
        "network": {**network, "factory": f"{tmp_path}/own.py:Net"},
        "recipe": {"epochs": 2, "learning_rate": 1e-3},
    }
    expected = run("whole", **changes)
    with run.interrupted(3):
        run("parts", **changes)
    assert (tmp_path / "parts/resume").is_dir()
    assert run("parts", **changes).read_bytes() == expected.read_bytes()
    trained, _ = load_state(expected)
    assert torch.equal(trained["first.weight"], trained["second.weight"])
    initial, _ = load_state(tmp_path / "whole/epoch-000.safetensors")
    assert all(not torch.equal(trained[key], initial[key]) for key in trained)


def test_an_interrupted_evaluation_is_done_again(run):
    expected = run("whole")
    # Batches are made by the evaluation of epoch 0 (2 of them), then 5 by training, then 2 again.
    with run.interrupted(8, "batch", of=ImageSet, match="in epoch 1 after step 5 of 5"):
        run("parts")
    assert [row["epoch"] for row in run.rows("parts")] == ["0"]
    assert run("parts").read_bytes() == expected.read_bytes()
    assert run.rows("parts") == run.rows("whole")


@pytest.mark.parametrize(
    "change",
    [
        {"recipe": {"learning_rate": 0.01}},
        {"seed": 3},
        {"checkpoints": {1: Path("one"), 3: Path("x")}},
        {"preprocess": Preprocess((1, 8, 8), [0.3], [0.5])},
    ],
)
def test_a_state_of_another_training_is_refused_with_a_warning(
    run, tmp_path, monkeypatch, caplog, change
):
    monkeypatch.chdir(tmp_path)
    with run.interrupted(7):
        run()
    run(**change)
    assert "is the state of a training with another recipe" in caplog.text
    assert "starting over" in caplog.text
    assert len(run.rows()) == 4


def cut(path):
    path.write_bytes(path.read_bytes()[:1000])


def flip(path):
    content = bytearray(path.read_bytes())
    content[-1000] ^= 1  # in a tensor
    path.write_bytes(content)


def about(**changes):
    """Write a state with other metadata, None for those left out."""

    def change(path):
        tensors, metadata = load_state(path)
        metadata |= changes
        save_state(tensors, path, {k: value for k, value in metadata.items() if value is not None})

    return change


def without_weights(path):
    _, metadata = load_state(path)
    save_state({"x": torch.zeros(1)}, path, metadata)


def foreign(path):
    save_file(load_file(path), path, {"manifold_capacity": "[]"})


@pytest.mark.parametrize(
    ("damaged", "damage", "message"),
    [
        ("state", cut, "is not a complete safetensors file"),
        ("state", flip, "was damaged or changed"),
        ("state", about(state=None), r"is not a whole state \(KeyError\('state'\)\)"),
        ("state", about(state={"epoch": 1, "stage": 2}), r"is not a whole state \(TypeError\("),
        (
            "state",
            about(recipe_digest=None),
            r"is not a whole state \(KeyError\('recipe_digest'\)\)",
        ),
        ("state", without_weights, r"is not a whole state \(KeyError\('model\."),
        ("state", foreign, "has no checksum"),
        ("epoch-001", cut, "is not a complete safetensors file"),
        ("epoch-001", flip, "was damaged or changed"),
        ("epoch-001", Path.unlink, "is not a complete safetensors file|is not a whole state"),
    ],
)
def test_a_damaged_file_is_refused_with_a_warning(run, tmp_path, caplog, damaged, damage, message):
    paths = {epoch: tmp_path / f"at-{epoch}.safetensors" for epoch in (1, 3)}
    expected = {epoch: tmp_path / f"whole/at-{epoch}.safetensors" for epoch in (1, 3)}
    run("whole", checkpoints=expected)
    with run.interrupted(7):
        run(checkpoints=paths)
    file = tmp_path / f"resume/{damaged}.safetensors"
    damage(file)
    run(checkpoints=paths)
    assert re.search(rf"\.safetensors (?:{message}).*; starting over", caplog.text)
    assert all(paths[epoch].read_bytes() == expected[epoch].read_bytes() for epoch in (1, 3))


def test_a_checkpoint_reached_before_the_interruption_is_delivered(run, tmp_path):
    paths = {epoch: tmp_path / f"out/at-{epoch}.safetensors" for epoch in (1, 3)}
    with run.interrupted(12):
        run(checkpoints=paths)
    assert not (tmp_path / "out").exists(), "a workflow engine would delete them"
    run(checkpoints=paths)
    assert load_metadata(paths[1])["epoch"] == 1
    whole = {epoch: tmp_path / f"whole/at-{epoch}.safetensors" for epoch in (1, 3)}
    run("whole", checkpoints=whole)
    assert all(paths[epoch].read_bytes() == whole[epoch].read_bytes() for epoch in (1, 3))


def test_a_save_starts_the_time_to_the_next_one(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(resume.time, "monotonic", lambda: now[0])
    folder, model = resume.ResumeFolder(tmp_path / "resume", "digest"), nn.Linear(2, 1)
    now[0] = 10.0
    assert folder.unsaved_s() == 10
    folder.save(
        resume.TrainingState(),
        model,
        Descent(model, {"momentum": 0.9, "weight_decay": 0.0}, fused=False),
    )
    assert folder.unsaved_s() == 0


@pytest.mark.parametrize(("save_every_s", "expected"), [(0.0, 5 + 1), (1e9, 1)])
def test_a_training_is_saved_within_an_epoch_and_after_it(run, monkeypatch, save_every_s, expected):
    saved, save = [], resume.ResumeFolder.save
    monkeypatch.setattr(
        resume.ResumeFolder, "save", lambda *arguments: saved.append(save(*arguments))
    )
    run(recipe={"epochs": 1}, save_every_s=save_every_s)
    assert len(saved) == expected


def test_other_files_in_the_resume_folder_are_left_alone(run, tmp_path):
    (tmp_path / "resume").mkdir()
    (tmp_path / "resume/notes.txt").write_text("mine")
    (tmp_path / "resume/epoch-001.safetensors.part").write_text("of a killed run")
    run(recipe={"epochs": 1})
    assert [path.name for path in (tmp_path / "resume").iterdir()] == ["notes.txt"]


def test_a_second_training_does_not_write_the_same_files(run, tmp_path, monkeypatch):
    monkeypatch.setattr(resume, "_PATIENCE_S", 0.1)
    holder = tmp_path / "resume.lock"
    with open(holder, "ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(ValueError, match="another process is training in"):
            run(recipe={"epochs": 1})
    run(recipe={"epochs": 1})
    assert not holder.exists()


# A process that imports torch once, then forks a training and kills it at a random moment after its
# first save, several times.
KILLER = """
import json, os, random, signal, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import torch
torch.set_num_threads(1)
from conftest import Trainer
from manifold_capacity.models.checkpoints import load_metadata
from manifold_capacity.training.train import InterruptedTrainingError

folder, recipe, moments = Path(sys.argv[2]), json.loads(sys.argv[3]), random.Random(0)
Trainer(folder)("warm", recipe={"epochs": 1})  # makes a training's lazy imports once for all
state = folder / "killed/resume/state.safetensors"
changed = lambda: state.exists() and state.stat().st_mtime_ns
for kill in [signal.SIGKILL, signal.SIGTERM] * 3:
    before, child = changed(), os.fork()
    if child == 0:
        try:
            Trainer(folder)("killed", recipe=recipe, save_every_s=0.005)
        except InterruptedTrainingError:
            os._exit(7)
        os._exit(0)
    while changed() == before and os.waitpid(child, os.WNOHANG) == (0, 0):
        time.sleep(0.001)
    time.sleep(moments.uniform(0.0, 0.03))
    os.kill(child, kill)
    _, status = os.waitpid(child, 0)
    saved = load_metadata(state)["state"]
    print(os.waitstatus_to_exitcode(status), saved["epoch"], saved["step"], flush=True)
"""


def test_killed_at_any_moment_it_ends_with_the_same_weights(run, tmp_path):
    recipe = {"epochs": 20, "batch_size": 8}
    expected = run("whole", recipe=recipe)
    command = [sys.executable, "-c", KILLER, str(Path(__file__).parent), str(tmp_path)]
    done = subprocess.run(
        [*command, json.dumps(recipe)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        # With a GPU, torch would have threads, which forking loses.
        env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
    )
    assert done.returncode == 0, done.stderr
    lines = [tuple(map(int, line.split())) for line in done.stdout.splitlines()]
    assert [line[0] for line in lines] == [-signal.SIGKILL, 7] * 3
    reached = [line[1:] for line in lines]
    assert reached == sorted(set(reached)), "each part got further than the one before"
    assert reached[-1] < (20, 9)
    assert run("killed", recipe=recipe).read_bytes() == expected.read_bytes()
    assert run.rows("killed") == run.rows("whole")
