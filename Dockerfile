# The workflow and its locked environment in one image:
#   docker build -t mbhseg .                  (--build-arg GPU=1 for CUDA)
#   docker run --rm --user "$(id -u):$(id -g)" -v "$PWD:/work" --shm-size=1g mbhseg --cores 8 --configfile /opt/mbhseg/config/demo.yaml
# .dockerignore lists what is copied. apptainer.def makes the same image for clusters; a test compares the two.
FROM python:3.11-slim-bookworm
ARG GPU=0
COPY requirements.lock /opt/mbhseg/
RUN pip install --no-cache-dir --no-deps --require-hashes -r /opt/mbhseg/requirements.lock
COPY envs /opt/mbhseg/envs
RUN if [ "$GPU" = 1 ]; then grep -o "nvidia-.*" /opt/mbhseg/envs/train-gpu.yaml | xargs pip install --no-cache-dir --no-deps; fi
COPY . /opt/mbhseg
# editable: jobs and the command `mbhseg` import the same copy
RUN pip install --no-cache-dir --no-deps --no-build-isolation --editable /opt/mbhseg
# any user may run a read-only image: all can read the code, and it is compiled
RUN chmod -R a+rX /opt/mbhseg && python -m compileall -q /opt/mbhseg/mbhseg
# packages in the user's home, which Apptainer mounts, must not replace those of the image
ENV PYTHONNOUSERSITE=1
# Snakemake needs a name of the user and a folder for its cache; a bare --user has neither
ENV LOGNAME=mbhseg XDG_CACHE_HOME=/tmp/.cache
WORKDIR /work
ENTRYPOINT ["snakemake", "--snakefile", "/opt/mbhseg/Snakefile"]
