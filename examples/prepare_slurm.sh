#!/bin/bash
# Makes shards of a data set on many machines of a Slurm cluster:
#
#   DATA=/data/MLS SHARDS=/data/shards/mls sbatch examples/prepare_slurm.sh
#
# Each task of the array does its share of the work. A task that was stopped goes on when
# it is started again. The last job, which waits for all tasks, lists what they made.
#SBATCH --job-name=ssr-prepare
#SBATCH --array=1-16
#SBATCH --cpus-per-task=16
#SBATCH --mem=32G
#SBATCH --time=12:00:00
#SBATCH --requeue
set -euo pipefail

: "${DATA:?the data set}" "${SHARDS:?the folder of the shards}"
# More of them for another data set or aligner: OPTIONS="--dataset csv --aligner ctc".
read -ra options <<<"${OPTIONS:-}"
prepare=(ssr prepare "$DATA" "$SHARDS" "${options[@]}")

if [ -z "${SLURM_ARRAY_TASK_ID:-}" ]; then
    exec "${prepare[@]}"
fi
if [ "$SLURM_ARRAY_TASK_ID" = "${SLURM_ARRAY_TASK_MIN:?}" ] && [ -z "${SLURM_RESTART_COUNT:-}" ]; then
    # When all tasks have ended well; if one fails, it is taken off the queue.
    sbatch --job-name=ssr-prepare-list --dependency="afterok:$SLURM_ARRAY_JOB_ID" \
        --kill-on-invalid-dep=yes --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" \
        --mem=32G --time=12:00:00 --wrap "$(printf '%q ' "${prepare[@]}")"
fi
# Arrays may begin at any number.
share=$((SLURM_ARRAY_TASK_ID - SLURM_ARRAY_TASK_MIN + 1))
exec "${prepare[@]}" --shard "$share/$SLURM_ARRAY_TASK_COUNT" \
    --num-workers "${SLURM_CPUS_PER_TASK:-1}"
