# SPDX-License-Identifier: GPL-3.0-or-later
# A private index of Python packages on the host's loopback: HTTPS with a certificate of a CA made here, for one account,
# with one package that is nowhere else. The host trusts the CA, as the role `host` would have it trusted.
test -e /opt/index/ready && exit 0
umask 077
mkdir -p /opt/index/simple/company-words
cd /opt/index || exit
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj "/CN=CA of the company" \
  -keyout ca.key -out ca.pem 2> /dev/null
openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=localhost -keyout server.key \
  -out server.csr 2> /dev/null
openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -out server.pem 2> /dev/null \
  -extfile <(echo "subjectAltName=DNS:localhost")
printf 'deploy:s3cret/word' > account
cat > wheel.py <<'PYTHON'
import zipfile

NAME = "company_words-1.0"
FILES = {
    "company_words.py": 'GREETING = "words of the company"\n',
    f"{NAME}.dist-info/METADATA": "Metadata-Version: 2.1\nName: company-words\nVersion: 1.0\n",
    f"{NAME}.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: ours\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
}
with zipfile.ZipFile(f"simple/company-words/{NAME}-py3-none-any.whl", "w") as wheel:
    for path, text in FILES.items():
        wheel.writestr(path, text)
    record = f"{NAME}.dist-info/RECORD"
    wheel.writestr(record, "".join(f"{path},,\n" for path in [*FILES, record]))
PYTHON
python3 wheel.py
wheel=company_words-1.0-py3-none-any.whl
digest=$(sha256sum simple/company-words/$wheel | cut -d ' ' -f 1)
echo "<a href=\"$wheel#sha256=$digest\">$wheel</a>" > simple/company-words/index.html
cat > server.py <<'PYTHON'
import base64
import http.server
import ssl
from pathlib import Path

ACCOUNT = "Basic " + base64.b64encode(Path("account").read_bytes()).decode()


class Index(http.server.SimpleHTTPRequestHandler):
    def do_GET(self):
        if self.headers["Authorization"] == ACCOUNT:
            super().do_GET()
        else:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="packages"')
            self.send_header("Content-Length", "0")
            self.end_headers()

    do_HEAD = do_GET


server = http.server.ThreadingHTTPServer(("127.0.0.1", 8443), Index)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("server.pem", "server.key")
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
PYTHON
cat > /etc/systemd/system/index.service <<'UNIT'
[Service]
WorkingDirectory=/opt/index
ExecStart=python3 server.py
UNIT
install -m 644 ca.pem /usr/local/share/ca-certificates/djdeploy-company.crt
update-ca-certificates > /dev/null 2>&1
systemctl daemon-reload
systemctl start index
n=0
until (exec 3<>/dev/tcp/127.0.0.1/8443) 2> /dev/null; do n=$((n + 1)); test $n -lt 300; sleep 0.2; done
touch ready
