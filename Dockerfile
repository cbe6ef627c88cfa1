# The decision point: `docker build -t bulkhead .`, and
#   docker run --read-only --tmpfs /tmp --tmpfs /run/pdp:uid=64100,mode=0700 --cap-drop ALL -p 7070:7070 \
#     -v ./etc:/etc/pdp:ro -v pdp-state:/var/lib/pdp bulkhead
# Tasks and the record go to the volume; private keys in ./etc belong to uid 64100 (0600), or are refused.
# Versions of what it depends on are those of pyproject.toml; pin the base by its digest where you build for real.
FROM python:3.12-slim AS build
WORKDIR /src
COPY pyproject.toml README.md ./
COPY language language
COPY pdp pdp
RUN python -m venv /opt/pdp && /opt/pdp/bin/pip install --no-cache-dir '.[yaml,server,spiffe,telemetry]'

FROM python:3.12-slim
RUN useradd --system --uid 64100 --no-create-home --shell /usr/sbin/nologin pdp \
 && install -d -o pdp -g pdp -m 0700 /var/lib/pdp /run/pdp
COPY --from=build /opt/pdp /opt/pdp
ENV PATH=/opt/pdp/bin:$PATH PYTHONDONTWRITEBYTECODE=1
USER pdp
EXPOSE 7070
STOPSIGNAL SIGTERM
# The admin port is on loopback: asked from inside, so that it need not be open.
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s CMD \
  ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:7071/readyz', timeout=2)"]
ENTRYPOINT ["pdp"]
CMD ["serve", "--config", "/etc/pdp/pdp.yaml"]
