//! An engine for tests: answers what it was told to, and remembers what it was asked.
//!
//! It knows nothing about backups. Documents are in the shape of a 4.5 engine: numbers and truths
//! are strings, times are milliseconds, empty collections have no list.

#![allow(dead_code, reason = "each test binary uses its own part of this module")]

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

pub(crate) const USER: &str = "backup@internal";
/// A password that must be seen nowhere.
pub(crate) const PASSWORD: &str = "canary-p&ssw=rd";
/// The id of the VM of [`FakeEngine::with_vm`].
pub(crate) const VM: &str = "7d0c0000-0000-4000-8000-000000000001";

const API: &str = "/ovirt-engine/api";

/// An answer.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    status: u16,
    kind: &'static str,
    body: String,
}

impl Reply {
    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Self { status, kind: "application/json", body: body.to_string() }
    }

    /// A page of the web server in front of the engine.
    pub(crate) fn html(status: u16) -> Self {
        Self { status, kind: "text/html", body: "<html>no</html>".to_owned() }
    }

    /// As the engine answers for what is not there.
    pub(crate) fn missing() -> Self {
        Self { status: 404, kind: "", body: String::new() }
    }

    fn text(body: String) -> Self {
        Self { status: 200, kind: "application/x-x509-ca-cert", body }
    }
}

/// A request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

#[derive(Default)]
struct State {
    documents: BTreeMap<String, Reply>,
    once: BTreeMap<String, VecDeque<Reply>>,
    seen: Vec<Seen>,
    logins: usize,
}

/// An authority, and the settings of a server that it has signed for.
pub(crate) struct Authority {
    pub(crate) pem: String,
    server: Arc<ServerConfig>,
}

impl Authority {
    /// An authority of that name, and a certificate for `names`.
    pub(crate) fn new(names: &[&str]) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let leaf = CertificateParams::new(names).unwrap().signed_by(&key, &ca).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider);
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let server = builder.with_no_client_auth().with_single_cert(vec![leaf.der().clone()], key);
        Self { pem: ca.pem(), server: Arc::new(server.unwrap()) }
    }

    /// The settings of a server that it has signed for.
    pub(crate) fn server(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.server)
    }
}

/// A server on this machine. Serves until the test ends.
pub(crate) struct FakeEngine {
    state: Arc<Mutex<State>>,
    port: u16,
    tls: Arc<Mutex<Option<Arc<ServerConfig>>>>,
}

impl FakeEngine {
    /// With nothing but the login, without encryption.
    pub(crate) fn new() -> Self {
        Self::serve(TcpListener::bind("127.0.0.1:0").unwrap(), None)
    }

    /// With encryption, on an address that may be one of IPv6.
    pub(crate) fn encrypted(address: &str, authority: &Authority) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        Self::serve(listener, Some(Arc::clone(&authority.server)))
    }

    fn serve(listener: TcpListener, tls: Option<Arc<ServerConfig>>) -> Self {
        let port = listener.local_addr().unwrap().port();
        let engine = Self { state: Arc::default(), port, tls: Arc::new(Mutex::new(tls)) };
        let (state, tls) = (Arc::clone(&engine.state), Arc::clone(&engine.tls));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (state, tls) = (Arc::clone(&state), tls.lock().unwrap().clone());
                thread::spawn(move || answer(stream, tls, &state));
            }
        });
        engine
    }

    /// From now on, serves with a certificate of that authority.
    pub(crate) fn change_authority(&self, authority: &Authority) {
        *self.tls.lock().unwrap() = Some(Arc::clone(&authority.server));
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Its URL, by that host.
    pub(crate) fn url_by(&self, host: &str) -> String {
        let scheme = if self.tls.lock().unwrap().is_some() { "https" } else { "http" };
        format!("{scheme}://{host}:{}", self.port)
    }

    pub(crate) fn url(&self) -> String {
        self.url_by("127.0.0.1")
    }

    /// Answers this from now on; `path` is below the API, with its query or without.
    pub(crate) fn set(&self, path: &str, reply: impl Into<Reply>) {
        self.with(|state| state.documents.insert(format!("{API}{path}"), reply.into()));
    }

    /// Answers this once before anything else.
    pub(crate) fn once(&self, path: &str, reply: impl Into<Reply>) {
        let target = format!("{API}{path}");
        self.with(|state| state.once.entry(target).or_default().push_back(reply.into()));
    }

    /// Answers this once to a request for a token.
    pub(crate) fn refuse_login(&self, reply: Reply) {
        let target = "/ovirt-engine/sso/oauth/token".to_owned();
        self.with(|state| state.once.entry(target).or_default().push_back(reply));
    }

    /// Shows the certificate of the internal authority.
    pub(crate) fn show_ca(&self, pem: &str) {
        let target = "/ovirt-engine/services/pki-resource".to_owned();
        self.with(|state| state.documents.insert(target, Reply::text(pem.to_owned())));
    }

    /// What was asked so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.with(|state| state.seen.clone())
    }

    /// How often a request for that path below the API came.
    pub(crate) fn count(&self, path: &str) -> usize {
        let target = format!("{API}{path}");
        let is_it = |seen: &&Seen| seen.target.split('?').next() == Some(target.as_str());
        self.seen().iter().filter(is_it).count()
    }

    fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.state.lock().unwrap())
    }

    /// With a running VM `web01` of two disks that nothing speaks against, and a host.
    pub(crate) fn with_vm(self) -> Self {
        self.set(
            "",
            json!({
                "product_info": {"name": "oVirt Engine", "vendor": "ovirt.org", "version": {
                    "build": "6", "full_version": "4.5.6-1.el9", "major": "4", "minor": "5",
                    "revision": "0"}},
                "summary": {"hosts": {"active": "1", "total": "1"}},
                "time": 1_767_225_600_123_u64,
            }),
        );
        self.set_vm(&vm());
        let attachments = [attachment("d1", "system"), attachment("d2", "data")];
        self.set(&format!("/vms/{VM}/diskattachments"), json!({"disk_attachment": attachments}));
        let active = json!({"id": "S", "description": "Active VM", "snapshot_status": "ok",
            "snapshot_type": "active", "persist_memorystate": "false"});
        self.set(&format!("/vms/{VM}/snapshots"), json!({"snapshot": [active]}));
        self.set(&format!("/vms/{VM}/backups"), json!({}));
        self.set("/imagetransfers", json!({}));
        self.set("/clusters/C", json!({"id": "C", "version": {"major": "4", "minor": "7"}}));
        self
    }

    /// Shows this VM by its id and to every search.
    pub(crate) fn set_vm(&self, vm: &Value) {
        self.set(&format!("/vms/{VM}"), vm.clone());
        self.set("/vms", json!({"vm": [vm]}));
    }
}

/// The VM of [`FakeEngine::with_vm`].
pub(crate) fn vm() -> Value {
    json!({
        "id": VM, "name": "web01", "status": "up", "origin": "ovirt", "stateless": "false",
        "initialization": {"custom_script": "", "regenerate_ssh_keys": "false"},
        "cluster": {"href": "/ovirt-engine/api/clusters/C", "id": "C"},
        "next_run_configuration_exists": "false", "memory": "2147483648",
    })
}

/// A plugged-in image as an engine attaches it.
pub(crate) fn attachment(id: &str, name: &str) -> Value {
    json!({
        "id": id, "active": "true", "bootable": "false", "interface": "virtio_scsi",
        "read_only": "false",
        "disk": {
            "id": id, "name": name, "alias": name, "status": "ok", "format": "cow",
            "storage_type": "image", "content_type": "data", "shareable": "false",
            "provisioned_size": "10737418240", "backup": "incremental", "sparse": "true",
        },
    })
}

impl From<Value> for Reply {
    fn from(body: Value) -> Self {
        Self::json(200, &body)
    }
}

fn answer(stream: TcpStream, tls: Option<Arc<ServerConfig>>, state: &Mutex<State>) {
    let served = match tls {
        None => converse(stream, state),
        Some(config) => {
            let connection = ServerConnection::new(config).unwrap();
            converse(StreamOwned::new(connection, stream), state)
        }
    };
    // Clients may go away at any time.
    drop(served);
}

fn converse(stream: impl Read + Write, state: &Mutex<State>) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let Some(seen) = read_request(&mut stream)? else { return Ok(()) };
    let Reply { status, kind, body } = reply(&seen, &mut state.lock().unwrap());
    let head = format!(
        "HTTP/1.1 {status} Because\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        body.len()
    );
    stream.get_mut().write_all((head + &body).as_bytes())?;
    stream.get_mut().flush()
}

fn read_request(stream: &mut impl BufRead) -> std::io::Result<Option<Seen>> {
    let mut line = String::new();
    if stream.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split(' ').map(ToOwned::to_owned);
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    let len = headers.get("content-length").map_or(0, |len| len.parse().unwrap());
    let mut body = vec![0; len];
    stream.read_exact(&mut body)?;
    let body = String::from_utf8(body).unwrap();
    Ok(Some(Seen { method, target, headers, body }))
}

fn reply(seen: &Seen, state: &mut State) -> Reply {
    state.seen.push(seen.clone());
    let path = seen.target.split('?').next().unwrap_or_default().to_owned();
    if let Some(reply) = state.once.get_mut(&path).and_then(VecDeque::pop_front) {
        return reply;
    }
    match path.as_str() {
        "/ovirt-engine/sso/oauth/token" => log_in(seen, state),
        "/ovirt-engine/services/sso-logout" => json!({}).into(),
        "/ovirt-engine/services/pki-resource" => document(seen, &path, state),
        _ => match seen.headers.get("authorization") {
            Some(bearer) if *bearer == format!("Bearer token-{}", state.logins) => {
                document(seen, &path, state)
            }
            _ => Reply::html(401),
        },
    }
}

/// Hands out a token; the one before is worth nothing then.
fn log_in(seen: &Seen, state: &mut State) -> Reply {
    let form = format!(
        "grant_type=password&scope=ovirt-app-api&username={}&password=canary-p%26ssw%3Drd",
        USER.replace('@', "%40")
    );
    if seen.headers.get("accept").map(String::as_str) != Some("application/json") {
        return Reply::json(400, &json!({"error_code": "invalid_request", "error": "Accept"}));
    }
    if seen.body != form {
        let error = format!("Cannot authenticate user '{USER}': wrong password.");
        return Reply::json(400, &json!({"error_code": "access_denied", "error": error}));
    }
    state.logins += 1;
    let token = format!("token-{}", state.logins);
    json!({"access_token": token, "scope": "ovirt-app-api", "exp": "9223372036854775807",
           "token_type": "bearer"})
    .into()
}

fn document(seen: &Seen, path: &str, state: &State) -> Reply {
    let found = state.documents.get(&seen.target).or_else(|| state.documents.get(path));
    found.cloned().unwrap_or_else(Reply::missing)
}
