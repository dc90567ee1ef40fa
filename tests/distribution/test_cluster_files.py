"""The files for Slurm and Kubernetes, as far as they run without either."""

import json
import os
import re
import subprocess
import sys
import time

import pytest

from tests.distribution.workers import BEGIN, ROOT, SAVES, pids, until

DOCS = ROOT / "docs" / "distribution"


def kubernetes_arguments() -> list[str]:
    """The `args` of kubernetes.yaml, as the cluster hands them to /bin/sh: `$(NAME)` is replaced, `$$` is `$`."""
    text = (DOCS / "kubernetes.yaml").read_text()
    assert 'command: ["/bin/sh", "-c"]' in text
    (block,) = re.findall(r"(?m)^ {10}args:\n((?: {12}.*\n)+)", text)
    script, *rest = re.split(r"(?m)^ {12}- ", block)[1:]
    script = re.sub(r"(?m)^ {14}", "", script.removeprefix("|\n"))
    assert "$$" not in script and not re.search(r"\$\([A-Za-z_]", script)
    return [script, *(re.sub(r" #.*", "", line).strip() for line in rest)]


def test_kubernetes_pods_make_their_tf_config(tmp_path):
    script, name, *program = kubernetes_arguments()
    assert program[:3] == ["python", "-m", "recipes.translation"]
    for rank in range(3):
        environment = {"WORKERS": "3", "JOB_COMPLETION_INDEX": str(rank), "PATH": os.environ["PATH"]}
        show = [sys.executable, "-S", "-c", "import os, sys; print(os.environ['TF_CONFIG']); sys.exit(7)"]
        done = subprocess.run(["/bin/sh", "-c", script, name, *show], env=environment, capture_output=True, text=True)
        assert done.returncode == 7 and json.loads(done.stdout) == {
            "cluster": {"worker": [f"keras-seq-{index}.keras-seq:2222" for index in range(3)]},
            "task": {"type": "worker", "index": rank},
        }


def test_a_kubernetes_pod_that_must_go_saves_and_is_not_done(tmp_path):
    script, name, *_ = kubernetes_arguments()
    environment = {"WORKERS": "2", "JOB_COMPLETION_INDEX": "1", "PATH": os.environ["PATH"]}
    line = ["/bin/sh", "-c", script, name, sys.executable, "-S", "-c", BEGIN + SAVES, tmp_path]
    with subprocess.Popen(line, env=environment) as pod:
        assert until(lambda: pids(tmp_path))
        pod.terminate()
        assert pod.wait(60) == 143
    assert (tmp_path / "saved 1").exists()


def test_kubernetes_file_is_yaml():
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    service, job = yaml.safe_load_all((DOCS / "kubernetes.yaml").read_text())
    assert (service["kind"], job["kind"]) == ("Service", "Job")
    pod, spec = job["spec"]["template"]["spec"], job["spec"]
    (container,) = pod["containers"]
    assert container["args"] == kubernetes_arguments()
    workers = {variable["name"]: variable["value"] for variable in container["env"]}["WORKERS"]
    assert spec["completions"] == spec["parallelism"] == int(workers) and spec["completionMode"] == "Indexed"
    assert pod["subdomain"] == service["metadata"]["name"] and service["spec"]["clusterIP"] == "None"
    assert service["spec"]["selector"] == {"job-name": job["metadata"]["name"]}
    assert container["ports"][0]["containerPort"] == service["spec"]["ports"][0]["port"] == 2222


# Slurm's programs, as far as slurm.sh asks them: they write down how they were called.
FAKES = {
    "scontrol": 'echo "scontrol $*" >> "$LOG"; [ "$1" = show ] && printf "n9\\nn10\\n"; true',
    "scancel": 'echo "scancel $*" >> "$LOG"; kill -TERM "$(cat "$LOG.pid")"',
    "srun": 'echo "srun $*" >> "$LOG"; cat "$SLURM_HOSTFILE" >> "$LOG"; echo "$TF_CONFIG" >> "$LOG"\n'
    'echo $$ > "$LOG.new"; mv "$LOG.new" "$LOG.pid"; eval "$STEP"',
}


@pytest.fixture
def slurm(tmp_path):
    """Starts slurm.sh among the fakes; `STEP` is what srun does."""
    for name, body in FAKES.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{body}\n")
        (tmp_path / name).chmod(0o755)

    def start(step: str) -> subprocess.Popen:
        environment = {
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
            "LOG": str(tmp_path / "log"),
            "STEP": step,
            "TF_CONFIG": "not for us",
            "SLURM_JOB_ID": "12",
            "SLURM_JOB_NODELIST": "n[9-10]",
            "SLURM_NTASKS_PER_NODE": "2",
        }
        line = ["bash", DOCS / "slurm.sh", "--epochs", "3"]
        return subprocess.Popen(line, env=environment, cwd=tmp_path, stderr=subprocess.PIPE, text=True)

    return start


@pytest.mark.parametrize(("step", "code", "starts"), [("true", 0, 1), ("exit 6", 6, 4)])
def test_slurm_script_starts_and_restarts(slurm, tmp_path, step, code, starts):
    subprocess.run(["bash", "-n", DOCS / "slurm.sh"], check=True)
    with slurm(step) as job:
        _, errors = job.communicate(timeout=60)
    log = (tmp_path / "log").read_text().splitlines()
    srun = "srun --distribution=arbitrary --kill-on-bad-exit=1 --label python -m recipes.translation"
    srun += " --strategy multi_worker_mirrored --epochs 3"
    # TensorFlow's resolver has n10 before n9.
    assert log == ["scontrol show hostnames n[9-10]", *[srun, "n10", "n10", "n9", "n9", ""] * starts]
    assert job.returncode == code and errors.count("ended with exit code 6; restart") == (3 if code else 0) + bool(code)


def test_slurm_script_saves_and_comes_again(slurm, tmp_path):
    step = f"trap 'touch {tmp_path}/saved; exit 0' TERM; while true; do sleep 0.02; done"
    with slurm(step) as job:
        assert until(lambda: (tmp_path / "log.pid").exists())
        time.sleep(0.2)  # for srun's trap
        job.terminate()
        _, errors = job.communicate(timeout=60)
    log = (tmp_path / "log").read_text().splitlines()
    assert log[-2:] == ["scancel --signal=TERM 12", "scontrol requeue 12"] and "stopped by SIGTERM" in errors
    assert (tmp_path / "saved").exists()


def test_slurm_variables_make_the_cluster(monkeypatch):
    import tensorflow as tf

    variables = {"PROCID": "1", "STEP_NUM_TASKS": "3", "STEP_NODELIST": "n[9-10],m1", "STEP_TASKS_PER_NODE": "1(x3)"}
    for name, value in variables.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    resolver = tf.distribute.cluster_resolver.SlurmClusterResolver()
    # In the order of the letters, which is why slurm.sh makes its hostfile.
    assert resolver.cluster_spec().as_dict() == {"worker": ["m1:8888", "n10:8888", "n9:8888"]}
    assert resolver.get_task_info() == ("worker", 1)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "0,1" and resolver.num_accelerators() == {"GPU": 2}
