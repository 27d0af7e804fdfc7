# SPDX-License-Identifier: GPL-3.0-or-later
# What `engine_python_mirror` of this host names: one Python as uv fetches it, made of the packages of Debian 12, and a
# list that says what there is to fetch: this one, and a 3.12 whose archive is missing.
test -e /opt/pythons/ready && exit 0
mkdir -p /opt/pythons/apt/lists/partial /opt/pythons/apt/sources.list.d /opt/pythons/packages /opt/pythons/mirror/1
cd /opt/pythons/packages || exit
cp -r /etc/apt/sources.list* ../apt/
find ../apt -type f -exec sed -i s/trixie/bookworm/g {} +
cat > ../apt/apt.conf <<'APT'
Dir::Etc::sourcelist "/opt/pythons/apt/sources.list";
Dir::Etc::sourceparts "/opt/pythons/apt/sources.list.d";
Dir::State::lists "/opt/pythons/apt/lists";
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
APT::Sandbox::User "root";
APT
export APT_CONFIG=/opt/pythons/apt/apt.conf
apt-get --quiet=2 update
apt-get --quiet=2 download python3.11-minimal libpython3.11-minimal libpython3.11-stdlib
for package in *.deb; do dpkg-deb --extract "$package" ../unpacked; done
cd /opt/pythons || exit
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
for unit in djdeploy-deployer djdeploy-deployer.push; do
  mkdir -p /etc/systemd/system/$unit@.service.d
  cat > /etc/systemd/system/$unit@.service.d/pythons.conf <<'UNIT'
[Service]
Environment=UV_PYTHON_DOWNLOADS_JSON_URL=file:///opt/pythons/list.json
UNIT
done
systemctl daemon-reload
touch ready
