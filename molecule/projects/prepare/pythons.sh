# SPDX-License-Identifier: GPL-3.0-or-later
# What `engine_python_mirror` of this host names: one Python as uv fetches it, made of the packages of Debian 12, and a
# list that says what there is to fetch: this one, and a 3.12 whose archive is missing.
test -e /opt/pythons/ready && exit 0
mkdir -p /opt/pythons/lists/partial /opt/pythons/packages /opt/pythons/mirror/1
cd /opt/pythons/packages
for name in $(cd /etc/apt && find sources.list sources.list.d -name '*.list' -o -name '*.sources' 2> /dev/null); do
  mkdir -p "$(dirname "../$name")"
  sed 's/trixie/bookworm/g' "/etc/apt/$name" > "../$name"
done
apt="-o Dir::Etc::sourcelist=/opt/pythons/sources.list -o Dir::Etc::sourceparts=/opt/pythons/sources.list.d
  -o Dir::State::lists=/opt/pythons/lists -o APT::Sandbox::User=root -o pkgcachegen::ForceEssential=,"
apt-get $apt --quiet=2 update
apt-get $apt --quiet=2 download python3.11-minimal libpython3.11-minimal libpython3.11-stdlib
for package in *.deb; do dpkg-deb --extract "$package" ../unpacked; done
cd ..
mkdir python
mv unpacked/usr/bin unpacked/usr/lib python/
ln -s python3.11 python/bin/python3
rm python/lib/python3.11/sitecustomize.py # leads to /etc
python/bin/python3.11 -c 'import sqlite3, ssl'
home=https://github.com/astral-sh/python-build-standalone/releases/download/1
tar --create --gzip --file mirror/1/cpython-3.11.2.tar.gz python
digest=$(sha256sum mirror/1/cpython-3.11.2.tar.gz | cut -d ' ' -f 1)
entry() {
  printf '"cpython-3.%s.%s-linux-gnu": {"name": "cpython", "arch": {"family": "%s", "variant": null},
    "os": "linux", "libc": "gnu", "major": 3, "minor": %s, "patch": %s, "prerelease": "", "variant": null,
    "url": "%s/cpython-3.%s.%s.tar.gz", "sha256": "%s"}' "$1" "$2" "$(uname -m)" "$1" "$2" $home "$1" "$2" "$digest"
}
echo "{$(entry 11 2), $(entry 12 1)}" > list.json
mkdir -p /etc/systemd/system/djdeploy-deployer@.service.d
cat > /etc/systemd/system/djdeploy-deployer@.service.d/pythons.conf <<'UNIT'
[Service]
Environment=UV_PYTHON_DOWNLOADS_JSON_URL=file:///opt/pythons/list.json
UNIT
systemctl daemon-reload
touch ready
