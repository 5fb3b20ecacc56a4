"""Files that run a request's shards in a batch system: an indexed job of Kubernetes, an array of Slurm."""

from __future__ import annotations

import json
import os
import shlex
from dataclasses import replace
from pathlib import Path
from string import Template

from isr.errors import RequestError
from isr.io.files import atomic
from isr.predict.request import PredictRequest

# How often a shard is tried again; with --resume that costs what is not finished.
TRIES = 3

KUBERNETES = Template("""\
# kubectl apply -f kubernetes.yml
apiVersion: batch/v1
kind: Job
metadata:
  name: isr-predict
spec:
  completionMode: Indexed
  completions: $count
  # How many shards run at the same time.
  parallelism: $parallel
  backoffLimitPerIndex: $tries
  maxFailedIndexes: $count
  podFailurePolicy:
    rules:
      # 2: the request is wrong, and would be again.
      - action: FailIndex
        onExitCodes:
          containerName: isr
          operator: In
          values: [2]
  template:
    spec:
      restartPolicy: Never
      containers:
        - name: isr
          # An image of your own, with keras-isr installed.
          image: keras-isr:latest
          command: [isr]
          args: $arguments
          env:
            - name: SHARD
              valueFrom:
                fieldRef:
                  fieldPath: metadata.annotations['batch.kubernetes.io/job-completion-index']
            # Converted networks are kept here.
            - name: ISR_CACHE
              value: /tmp/isr
          # The store's credentials: a Secret of your own, such as one with AWS_ACCESS_KEY_ID.
          envFrom:
            - secretRef:
                name: isr-store
                optional: true
          resources:
            requests: {cpu: "2", memory: 4Gi}
            limits: {memory: 8Gi}
""")

SLURM = Template("""\
#!/usr/bin/env bash
# sbatch slurm.sh
#SBATCH --job-name=isr-predict
#SBATCH --array=0-$last%$parallel
#SBATCH --cpus-per-task=2
#SBATCH --mem=8G
#SBATCH --requeue
#SBATCH --output=isr-%A_%a.log
set -euo pipefail
cd $folder
exec $command --shard "$${SLURM_ARRAY_TASK_ID}/$count"$inputs
""")
# Shards at the same time, to begin with.
PARALLEL = 100


def write_jobs(request: PredictRequest, folder: Path) -> list[Path]:
    """Write `kubernetes.yml` and `slurm.sh`, which run a request for every one of its shards.

    Args:
        request: with a shard, whose count is that of the jobs. Results are resumed, so that a job that is run again
            makes what is missing.
        folder: made where missing.

    Returns:
        The files.

    Raises:
        RequestError: the request has no shard, or a network given as an object.
    """
    if request.shard is None:
        raise RequestError("--as-jobs: say by --shard how many there are: --shard 0/1000")
    count = request.shard[1]
    options = replace(request.options, resume=True)
    request = replace(request, shard=None, options=options)
    inputs = len(request.arguments()) - len(replace(request, inputs=()).arguments())
    words = request.arguments()
    head, tail = words[: len(words) - inputs], words[len(words) - inputs :]
    if "--" not in tail:
        tail = ["--", *tail]
    parallel = min(PARALLEL, count)
    # Of its own variables, Kubernetes replaces $(NAME).
    plain = [word.replace("$(", "$$(") for word in ("predict", *head)]
    ends = [word.replace("$(", "$$(") for word in tail]
    arguments = json.dumps([*plain, f"--shard=$(SHARD)/{count}", *ends], ensure_ascii=False)
    texts = {
        "kubernetes.yml": KUBERNETES.substitute(
            count=count, parallel=parallel, tries=TRIES, arguments=arguments
        ),
        "slurm.sh": SLURM.substitute(
            count=count,
            last=count - 1,
            parallel=parallel,
            folder=shlex.quote(os.fspath(Path.cwd())),
            command=shlex.join(["isr", "predict", *head]),
            inputs=f" {shlex.join(tail)}",
        ),
    }
    written = []
    for name, text in texts.items():
        with atomic(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
        written.append(folder / name)
    return written
