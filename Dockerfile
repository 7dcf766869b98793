# The workflow and its locked environment in one image:
#   docker build -t mbhseg .                  (--build-arg GPU=1 for CUDA)
#   docker run --rm -v "$PWD:/work" --shm-size=1g mbhseg --cores 8 --configfile /opt/mbhseg/config/demo.yaml
# apptainer.def makes the same for clusters; a test holds the two together.
FROM python:3.11-slim-bookworm
ARG GPU=0
COPY requirements.lock /opt/mbhseg/
RUN pip install --no-cache-dir --no-deps --require-hashes -r /opt/mbhseg/requirements.lock
COPY envs /opt/mbhseg/envs
RUN if [ "$GPU" = 1 ]; then grep -o "nvidia-.*" /opt/mbhseg/envs/train-gpu.yaml | xargs pip install --no-cache-dir --no-deps; fi
COPY Snakefile /opt/mbhseg/
COPY config /opt/mbhseg/config
COPY mbhseg /opt/mbhseg/mbhseg
COPY profiles /opt/mbhseg/profiles
COPY captions /opt/mbhseg/captions
COPY rules /opt/mbhseg/rules
COPY workflow_scripts /opt/mbhseg/workflow_scripts
ENV PYTHONPATH=/opt/mbhseg
WORKDIR /work
ENTRYPOINT ["snakemake", "--snakefile", "/opt/mbhseg/Snakefile"]
