//! Between clients and origins that are not ours, as real programs on loopback: curl and Go's `net/http` call, nginx and
//! Go's answer. What passed is told by their own records.

use std::{
    env::temp_dir,
    fs,
    io::{BufRead, BufReader},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::LazyLock,
    thread::sleep,
    time::Duration,
};

use serde_json::{Value, json};
use tokio::task::spawn_blocking;
use uuid::Uuid;

use crate::{
    app::App,
    origin::certificate,
    sidecar::{own_address, until},
    whole::{HOST, VALUE, Whole, granted},
};

const LINE: &str = "0123456789abcdef\n";
/// What nginx serves, over all buffers' sizes.
static LINES: LazyLock<String> = LazyLock::new(|| LINE.repeat(6_000));

const NGINX: &str = r#"
daemon off; master_process off; pid DIR/pid; error_log stderr crit;
events { worker_connections 256; }
http {
  client_body_temp_path DIR/body; proxy_temp_path DIR/proxy; fastcgi_temp_path DIR/fastcgi;
  uwsgi_temp_path DIR/uwsgi; scgi_temp_path DIR/scgi;
  log_format told '$connection "$request" $status $body_bytes_sent auth[$http_authorization] '
    'range[$http_range] coding[$http_accept_encoding] expect[$http_expect]';
  access_log DIR/access told;
  default_type text/plain; gzip on; gzip_types *; gzip_min_length 1; sub_filter_types *; client_max_body_size 1m;
  server {
    listen ADDRESS ssl; ssl_certificate DIR/cert.pem; ssl_certificate_key DIR/key.pem; root DIR/www;
    location = /echo { return 200 "got $http_authorization and more\n"; }
    location = /gone { return 444; }
    location /chunked/ { alias DIR/www/; sub_filter never-there x; }
    location /slow/ { alias DIR/www/; limit_rate 64k; }
    location /slower/ { alias DIR/www/; limit_rate 16k; }
  }
}
"#;

/// A directory of one test, and a program that runs in it. Both end when dropped.
struct Program {
    child: Option<Child>,
    directory: PathBuf,
}

/// A running origin.
struct Foreign {
    address: SocketAddr,
    anchors: String,
    /// Of Go's.
    control: Option<SocketAddr>,
    program: Program,
}

impl Program {
    fn new() -> Self {
        let directory = temp_dir().join(format!("keylend-foreign-{}", Uuid::new_v4()));
        fs::create_dir_all(directory.join("www")).unwrap();
        Self { child: None, directory }
    }

    fn path(&self, name: &str) -> String {
        self.directory.join(name).to_str().unwrap().to_owned()
    }

    /// Starts an applet of the peers, and reads what it announces.
    fn go(&mut self, arguments: &[&str]) -> Value {
        static BUILT: LazyLock<PathBuf> = LazyLock::new(|| {
            let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("keylend-peers");
            let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../e2e/peers");
            let built =
                Command::new("go").arg("build").arg("-o").arg(&program).arg(".").current_dir(source).status();
            assert!(built.unwrap().success());
            program
        });
        let mut command = Command::new(&*BUILT);
        command.args(arguments).args(["--control", "127.0.0.1:0", "--ends-with-stdin"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        self.child = Some(child);
        serde_json::from_str(&line).unwrap()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn address(text: &Value) -> SocketAddr {
    text.as_str().unwrap().parse().unwrap()
}

impl Foreign {
    fn nginx() -> Self {
        let mut program = Program::new();
        let (leaf, key, anchors) = certificate(HOST);
        let address = TcpListener::bind((own_address(), 0)).unwrap().local_addr().unwrap();
        let config = NGINX.replace("DIR", program.directory.to_str().unwrap());
        for (name, text) in [
            ("cert.pem", leaf.pem()),
            ("key.pem", key.serialize_pem()),
            ("nginx.conf", config.replace("ADDRESS", &address.to_string())),
            ("www/lines", LINES.clone()),
        ] {
            fs::write(program.path(name), text).unwrap();
        }
        let mut command = Command::new("/usr/sbin/nginx");
        command.args(["-e", "stderr", "-c", &program.path("nginx.conf")]);
        program.child = Some(command.spawn().expect("nginx is installed by make cluster-packages"));
        let answers = (0..500).any(|_| {
            sleep(Duration::from_millis(10));
            TcpStream::connect(address).is_ok()
        });
        assert!(answers);
        Self { address, anchors, control: None, program }
    }

    fn go() -> Self {
        let mut program = Program::new();
        let authority = program.path("authority");
        let said = program.go(&[
            "upstream",
            "--listen",
            "127.0.0.1:0",
            "--self-signed-ca-dir",
            &authority,
            "--name",
            HOST,
            "--no-http2",
        ]);
        let anchors = said["ca"].as_str().unwrap().to_owned();
        Self {
            address: address(&said["listening"][0]),
            anchors,
            control: Some(address(&said["control"])),
            program,
        }
    }

    async fn carried(&self) -> Whole {
        let whole = Whole::start(granted(self.address, &self.anchors)).await;
        whole.change(|world| _ = world.names.insert(HOST.to_owned(), vec![self.address.ip()]));
        whole
    }

    /// The lines of nginx's own log.
    fn told(&self) -> Vec<String> {
        let log = fs::read_to_string(self.program.path("access")).unwrap_or_default();
        log.lines().map(str::to_owned).collect()
    }

    /// What Go's origin has counted, once it is asked to wait for the last of `hits`.
    async fn counted(&self, hits: usize) -> Value {
        let path = format!("GET /count?wait_ms=5000&at_least={hits}");
        let reply = App::connect(self.control.unwrap()).await.call(&path, "", "").await;
        serde_json::from_str(&reply.body).unwrap()
    }
}

/// What curl prints, and its exit status; `{}` stands for the sidecar's route.
async fn curl(whole: &Whole, arguments: &[&str]) -> (String, i32) {
    let route = format!("http://{}/r", whole.address);
    let arguments: Vec<_> = arguments.iter().map(|argument| argument.replace("{}", &route)).collect();
    let mut command = Command::new("curl");
    command.args(["-q", "-sS", "--noproxy", "*", "--max-time", "20"]).args(arguments);
    let output = spawn_blocking(move || command.output().unwrap()).await.unwrap();
    (String::from_utf8(output.stdout).unwrap(), output.status.code().unwrap())
}

#[tokio::test]
async fn curl_gets_what_nginx_has_whole_uncoded_and_masked() {
    let origin = Foreign::nginx();
    let whole = origin.carried().await;
    let big = format!("@{}", origin.program.path("big"));
    fs::write(origin.program.path("big"), "x".repeat(2 << 20)).unwrap();
    let echo = format!("got Bearer {} and more\n", "*".repeat(VALUE.len()));
    let table: [(&[&str], &str, Option<&str>); 10] = [
        (&["{}/lines"], "200", Some(&LINES)),
        (&["-r", "0-7", "{}/lines"], "200", Some(&LINES)),
        (&["--compressed", "{}/lines"], "200", Some(&LINES)),
        (&["{}/chunked/lines"], "200", Some(&LINES)),
        (&["--limit-rate", "150k", "{}/slow/lines"], "200", Some(&LINES)),
        (&["{}/echo"], "200", Some(&echo)),
        (&["-H", "Expect: 100-continue", "-d", "a=b", "{}/echo"], "200", Some(&echo)),
        (&["--data-binary", &big, "{}/echo"], "413", None),
        (&["{}/nowhere"], "404", None),
        (&["{}/gone"], "502", None),
    ];
    for (arguments, status, body) in table {
        let (said, code) = curl(&whole, &[&["-w", "\n%{http_code}"], arguments].concat()).await;
        let (got, answered) = said.rsplit_once('\n').unwrap();
        assert_eq!((answered, code), (status, 0), "{arguments:?}");
        assert!(body.is_none_or(|body| body == got), "{arguments:?}: {got}");
    }
    until(|| origin.told().len() == 10).await;
    for line in origin.told() {
        let end = format!("auth[Bearer {VALUE}] range[-] coding[identity] expect[-]");
        assert!(line.ends_with(&end), "{line}");
    }
}

#[tokio::test]
async fn curl_and_nginx_keep_their_connections() {
    let origin = Foreign::nginx();
    let whole = origin.carried().await;
    let mut arguments = vec!["-w", "%{http_code} %{num_connects}\n"];
    arguments
        .extend(["{}/lines", "{}/chunked/lines", "{}/echo"].iter().flat_map(|url| ["-o", "/dev/null", url]));
    assert_eq!(curl(&whole, &arguments).await.0, "200 1\n200 0\n200 0\n");
    let (head, _) = curl(&whole, &["-I", "{}/lines"]).await;
    assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", LINES.len())), "{head}");
    until(|| origin.told().len() == 4).await;
    let one = origin.told()[0].split(' ').next().unwrap().to_owned();
    assert!(origin.told().iter().all(|line| line.starts_with(&one)), "{:?}", origin.told());
}

#[tokio::test]
async fn pipelined_requests_reach_either_origin_in_their_order() {
    for origin in [Foreign::nginx(), Foreign::go()] {
        let whole = origin.carried().await;
        let mut app = whole.app().await;
        let paths = ["/echo", "/status/404", "/echo", "/nowhere"];
        let requests = paths.map(|path| app.request(&format!("GET /r{path}"), "", ""));
        app.send(requests.concat()).await;
        for path in paths {
            let reply = app.reply().await;
            assert_eq!(reply.status, if path == "/echo" { 200 } else { 404 }, "{path}");
            assert!(!reply.body.contains(VALUE));
        }
    }
}

#[tokio::test]
async fn a_client_that_leaves_ends_what_nginx_sends() {
    let origin = Foreign::nginx();
    let whole = origin.carried().await;
    let (got, code) = curl(&whole, &["--max-time", "2", "{}/slower/lines"]).await;
    assert!(code == 28 && got.len() < LINES.len(), "{code}");
    until(|| origin.told().len() == 1).await;
    let sent: usize = origin.told()[0].split(' ').nth(5).unwrap().parse().unwrap();
    assert!(sent < LINES.len(), "{:?}", origin.told());
}

#[tokio::test]
async fn curl_uploads_to_go_and_sees_its_answers_cut_early_and_late() {
    let origin = Foreign::go();
    let whole = origin.carried().await;
    let big = format!("@{}", origin.program.path("big"));
    fs::write(origin.program.path("big"), "x".repeat(2 << 20)).unwrap();
    for fields in [["-H", "X: y"], ["-H", "Transfer-Encoding: chunked"], ["-H", "Expect:"]] {
        let (said, code) = curl(&whole, &[&fields[..], &["--data-binary", &big, "{}/upload"]].concat()).await;
        assert!(code == 0 && said.contains("\"length\":2097152"), "{fields:?}: {said}");
    }
    // Of a body that is cut only whole lines come.
    let lines = LINE.repeat(100 / LINE.len());
    for (arguments, exit, expected) in [
        (vec!["{}/hints"], 0, "true"),
        (vec!["{}/close"], 0, "true"),
        (vec!["{}/slow?ms=300&head=1"], 0, "true"),
        (vec!["-N", "{}/stream?every=50ms&for=300ms"], 0, "data"),
        (vec!["--data-binary", &big, "{}/early?code=413"], 0, "early"),
        (vec!["{}/cut?n=1000&after=100"], 18, &lines),
        (vec!["{}/cut?n=1000&after=100&chunked=1"], 18, &lines),
        (vec!["--max-time", "0.4", "{}/hang"], 28, ""),
    ] {
        let (said, code) = curl(&whole, &arguments).await;
        assert_eq!(code, exit, "{arguments:?}: {said}");
        assert!(
            said.contains(expected) && said.len() <= 100.max(said.len() * usize::from(exit == 0)),
            "{said}"
        );
    }
}

/// With bodies Go's client never sends a call again by itself; without them connections are used again.
#[tokio::test]
async fn go_calls_either_origin_once_a_call_over_few_connections() {
    for origin in [Foreign::go(), Foreign::nginx()] {
        let (whole, mut caller) = (origin.carried().await, Program::new());
        let control = address(&caller.go(&["caller"])["control"]);
        if let Some(origin) = origin.control {
            let wish = json!({"authorization": format!("Bearer {VALUE}")}).to_string();
            let fields = format!("Content-Length: {}\r\n", wish.len());
            assert_eq!(App::connect(origin).await.call("POST /expect", &fields, &wish).await.status, 200);
        }
        for (method, size, chunked) in [("POST", 40_000, false), ("POST", 40_000, true), ("GET", 0, false)] {
            let run = json!({"url": format!("http://{}/r/echo", whole.address), "method": method, "body_size": size,
                "chunked": chunked, "count": 60, "concurrency": 6, "quiet": true, "disable_compression": false});
            let run = run.to_string();
            let fields = format!("Content-Length: {}\r\n", run.len());
            let reply = App::connect(control).await.call("POST /run", &fields, &run).await;
            let summary: Value = serde_json::from_str(reply.body.lines().last().unwrap()).unwrap();
            assert_eq!(summary["summary"]["by_status"], json!({"200": 60}), "{summary}");
        }
        if origin.control.is_some() {
            let counted = origin.counted(180).await;
            assert_eq!((&counted["hits"], &counted["expected"]), (&json!(180), &json!(180)), "{counted}");
            assert!(counted["connections_accepted"].as_u64().unwrap() <= 120 + 12, "{counted}");
        } else {
            until(|| origin.told().len() == 180).await;
        }
    }
}
