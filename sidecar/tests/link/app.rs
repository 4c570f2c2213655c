//! The whole sidecar: it listens from the start, says yes once enrolled, and stops when told to.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use keylend_contract::{
    injected::{LISTENER, ROOTS_VARIABLE},
    refusal::Refusal,
    wire::{ASK_PATH, ENROL_PATH, EnrolAnswer, OPERATOR_SERVER_NAME},
};
use keylend_sidecar::{app::App, probe::Probe};
use rcgen::{CertificateParams, KeyPair};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::{Notify, oneshot},
    task::{JoinHandle, spawn_blocking},
    time::timeout,
};

use crate::{
    scripted_operator::{Authority, ScriptedOperator, Step, encoded},
    sidecar::{HOUR, Token, config, eventually, granting, until},
};

/// The whole sidecar, and the way to stop it.
struct Running {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<bool>,
    _token: Token,
}

impl Running {
    async fn start(authority: &Authority, operator: &ScriptedOperator) -> Self {
        let token = Token::new();
        let config = config(authority, "127.0.0.1", operator.address.port(), &token);
        let bound = App::build(&config).await.unwrap();
        let address = bound.address();
        let (stop, stopped) = oneshot::channel();
        let ended = tokio::spawn(async move { bound.run(async { drop(stopped.await) }).await.is_ok() });
        Self { address, stop, ended, _token: token }
    }

    async fn says(&self, probe: Probe) -> bool {
        let address = self.address;
        spawn_blocking(move || probe.ask(address)).await.unwrap().unwrap()
    }

    /// The whole answer to a request for `path`.
    async fn answer(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.address);
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }
}

async fn operator(
    authority: &Authority,
    enrols: &'static AtomicBool,
    ask: impl Fn() -> Step + Send + Sync + 'static,
) -> ScriptedOperator {
    let (enrolling, any) = (authority.clone(), SocketAddr::from(([127, 0, 0, 1], 0)));
    ScriptedOperator::start(authority, OPERATOR_SERVER_NAME, any, move |heard| match heard.path.as_str() {
        ENROL_PATH if enrols.load(Ordering::SeqCst) => Step::Answer(enrolling.enrolled(&heard.enrol(), HOUR)),
        ENROL_PATH => Step::Answer(encoded(&EnrolAnswer::Refused(Refusal::PoliciesMissing), &[])),
        _ => ask(),
    })
    .await
}

#[tokio::test]
async fn it_listens_from_the_start_and_says_yes_once_enrolled() {
    static ENROLS: AtomicBool = AtomicBool::new(false);
    let authority = Authority::new();
    let operator = operator(&authority, &ENROLS, || Step::Silence).await;
    let running = Running::start(&authority, &operator).await;
    assert!(running.answer("/stripe/v1").await.contains("Keylend-Refusal: enrolment_pending\r\n"));
    let refused = "Keylend-Refusal: policies_missing\r\n";
    eventually(async || running.answer("/stripe/v1").await.contains(refused)).await;
    assert!(!running.says(Probe::Started).await && !running.says(Probe::Ready).await);
    ENROLS.store(true, Ordering::SeqCst);
    eventually(async || running.says(Probe::Started).await).await;
    assert!(running.says(Probe::Ready).await);
}

#[tokio::test]
async fn told_to_stop_it_takes_no_more_calls_and_ends_with_the_last_one() {
    static ENROLS: AtomicBool = AtomicBool::new(true);
    let authority = Authority::new();
    let told = Arc::new(Notify::new());
    let telling = told.clone();
    let ask = move || Step::AnswerOn(told.clone(), granting());
    let operator = operator(&authority, &ENROLS, ask).await;
    let running = Running::start(&authority, &operator).await;
    eventually(async || running.says(Probe::Started).await).await;
    let Running { address, stop, ended, _token } = running;
    let mut open = TcpStream::connect(address).await.unwrap();
    open.write_all(format!("GET /stripe/v1 HTTP/1.1\r\nHost: {address}\r\n\r\n").as_bytes()).await.unwrap();
    until(|| operator.heard(ASK_PATH).len() == 1).await;
    stop.send(()).unwrap();
    eventually(async || TcpStream::connect(address).await.is_err()).await;
    assert!(!ended.is_finished(), "it left a call behind");
    telling.notify_one();
    let mut answer = String::new();
    open.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 "), "{answer}");
    assert!(timeout(Duration::from_secs(10), ended).await.unwrap().unwrap());
}

#[test]
fn the_binary_says_by_its_exit_code_what_it_did() {
    let cases: [(&[&str], i32); 6] = [
        (&["version"], 0),
        (&[], 2),
        (&["serve"], 2),
        (&["run", "x"], 2),
        (&["probe", "live"], 2),
        (&["run"], 1),
    ];
    for (arguments, expected) in cases {
        let mut command = Command::new(env!("CARGO_BIN_EXE_keylend-sidecar"));
        // Without roots it must not run, whatever else it is told.
        let ended = command.args(arguments).env_clear().env("RUST_LOG", "trace").output().unwrap();
        assert_eq!(ended.status.code(), Some(expected), "{arguments:?}");
    }
}

/// The sidecar as a process. It ends when dropped.
struct Process(Child);

impl Process {
    /// Starts it once it can have its port, which is the same for everybody on this machine.
    fn start() -> Self {
        let begun = Instant::now();
        let root = CertificateParams::default().self_signed(&KeyPair::generate().unwrap()).unwrap();
        loop {
            let mut command = Command::new(env!("CARGO_BIN_EXE_keylend-sidecar"));
            command.arg("run").env(ROOTS_VARIABLE, root.pem()).stderr(Stdio::piped());
            let mut process = Self(command.spawn().unwrap());
            let mut log = BufReader::new(process.0.stderr.take().unwrap()).lines();
            if log.any(|line| line.unwrap().contains("\"listening\"")) {
                // Read on, lest it waits for somebody to.
                std::thread::spawn(move || log.for_each(drop));
                return process;
            }
            assert!(begun.elapsed() < Duration::from_secs(30), "it does not listen");
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_signal_to_terminate_lets_the_request_under_way_end_and_then_the_process() -> io::Result<()> {
    let mut process = Process::start();
    let mut open = std::net::TcpStream::connect(LISTENER)?;
    // Half a request comes with a whole one, whose answer shows that both were read.
    let whole = format!("HEAD /stripe/v1 HTTP/1.1\r\nHost: {LISTENER}\r\n\r\n");
    open.write_all(format!("{whole}GET /stripe/v1 HTTP/1.1\r\n").as_bytes())?;
    let mut first = Vec::new();
    while !first.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        open.read_exact(&mut byte)?;
        first.extend(byte);
    }
    kill_process(Pid::from_child(&process.0), Signal::TERM)?;
    let told = Instant::now();
    while std::net::TcpStream::connect(LISTENER).is_ok() {
        assert!(told.elapsed() < Duration::from_secs(8), "it still listens");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(process.0.try_wait()?, None, "it left a request behind");
    open.write_all(format!("Host: {LISTENER}\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    open.read_to_string(&mut answer)?;
    assert!(answer.contains("\r\nKeylend-Refusal: enrolment_pending\r\n"), "{answer}");
    let answered = Instant::now();
    assert_eq!(process.0.wait()?.code(), Some(0));
    assert!(answered.elapsed() < Duration::from_secs(5));
    Ok(())
}
