#!/bin/bash
# Trains on the nodes of a Slurm cluster; what comes after the name of this file goes to the recipe:
#
#     sbatch docs/distribution/slurm.sh --data-dir /data/multi30k --source en --target de --run /data/runs/en-de
#
# To be changed: the #SBATCH lines, and `activate`. The run folder must be on a file system that all nodes see.
#
#SBATCH --job-name=keras-seq
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1        # one worker a node, which takes all GPUs that it sees
#SBATCH --gpus-per-node=4          # without GPUs: leave it out
#SBATCH --exclusive                # TensorFlow's resolver gives workers the ports 8888, 8889, ...
#SBATCH --time=24:00:00
#SBATCH --signal=B:TERM@180        # three minutes before the time is up this script is told,
#SBATCH --requeue                  # lets the workers save, and asks for another turn
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.out

set -u
activate=.venv/bin/activate
[[ -f $activate ]] && source "$activate"

restarts=3
stopped=
step=
code=0
stop() {
  stopped=yes
  [[ $step ]] && scancel --signal=TERM "$SLURM_JOB_ID" # without --batch: the workers, not this script
}
trap stop TERM

# TensorFlow's SlurmClusterResolver takes the hosts in the order of their letters (n10 before n2), Slurm in that of their
# numbers. The file makes Slurm give its ranks in TensorFlow's order.
SLURM_HOSTFILE=$(mktemp)
export SLURM_HOSTFILE
trap 'rm -f "$SLURM_HOSTFILE"' EXIT
for host in $(scontrol show hostnames "$SLURM_JOB_NODELIST" | LC_ALL=C sort); do
  for ((task = 0; task < ${SLURM_NTASKS_PER_NODE:-1}; task++)); do
    echo "$host"
  done
done > "$SLURM_HOSTFILE"

# Under Slurm, and without TF_CONFIG, `multi_worker_mirrored` finds its workers by SLURM_* variables.
unset TF_CONFIG
for ((attempt = 0; attempt <= restarts; attempt++)); do
  [[ $stopped ]] && break
  # When one worker dies, --kill-on-bad-exit ends the others; all go on from the last checkpoint.
  srun --distribution=arbitrary --kill-on-bad-exit=1 --label \
    python -m recipes.translation --strategy multi_worker_mirrored "$@" &
  step=$!
  wait "$step"
  code=$?
  [[ $stopped ]] && break
  ((code == 0)) && exit 0
  echo "slurm.sh: the workers ended with exit code $code; restart $((attempt + 1)) of $restarts" >&2
done
if [[ $stopped ]]; then
  [[ $step ]] && wait "$step" # the signal has interrupted the first wait
  echo "slurm.sh: stopped by SIGTERM, to go on in another turn" >&2
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
