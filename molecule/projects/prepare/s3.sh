# SPDX-License-Identifier: GPL-3.0-or-later
# An object store on the host's loopback, which checks signatures and keeps its objects as files: S3 on port 9000. On
# port 9001 the same files for everybody, as a bucket that may be read in public or a CDN has them.
test -e /opt/s3/installed && exit 0
python3 -m venv --clear /opt/s3
PIP_CERT=/etc/ssl/certs/ca-certificates.crt /opt/s3/bin/pip install --quiet --disable-pip-version-check nanio==0.1.7
mkdir -p /var/lib/s3/s3-bucket /var/lib/s3/storage-dsn-bucket
cat > /etc/systemd/system/s3.service <<'UNIT'
[Service]
Environment=NANIO_ACCESS_KEY=key NANIO_SECRET_KEY=secret/secret
ExecStart=/opt/s3/bin/nanio serve --data-dir /var/lib/s3 --host 127.0.0.1 --port 9000
UNIT
cat > /etc/systemd/system/s3-public.service <<'UNIT'
[Service]
ExecStart=python3 -m http.server 9001 --bind 127.0.0.1 --directory /var/lib/s3
UNIT
systemctl daemon-reload
systemctl start s3 s3-public
n=0
until (exec 3<>/dev/tcp/127.0.0.1/9000) 2> /dev/null; do n=$((n + 1)); test $n -lt 300; sleep 0.2; done
touch /opt/s3/installed
