#!/bin/bash
# Trains on the GPUs of several machines of a Slurm cluster:
#
#   sbatch examples/train_slurm.sh hparams/finetune.yaml --parallel fsdp
#
# What comes after the script is what comes after "ssr train". All machines see the same
# folders. A job that was stopped goes on from its last checkpoint when it is started
# again, also with another number of machines.
#SBATCH --job-name=ssr-train
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --time=24:00:00
#SBATCH --requeue
set -euo pipefail

: "${1:?a YAML, and overrides of its keys}"
# All meet at the first machine.
hosts=$(scontrol show hostnames "$SLURM_JOB_NODELIST")
meeting="${hosts%%$'\n'*}:${MASTER_PORT:-29500}"

# One torchrun on each machine starts a process for each of its GPUs. Where one fails,
# all end.
exec srun --kill-on-bad-exit=1 torchrun \
    --nnodes "$SLURM_JOB_NUM_NODES" \
    --nproc_per_node "${SLURM_GPUS_ON_NODE:-1}" \
    --rdzv_id "$SLURM_JOB_ID" --rdzv_backend c10d --rdzv_endpoint "$meeting" \
    -m ssr_plugin train "$@"
