//! The whole sidecar: it listens from the start, says yes once enrolled, and stops when told to.

use std::{
    net::SocketAddr,
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use keylend_contract::{
    refusal::Refusal,
    wire::{ENROL_PATH, EnrolAnswer, OPERATOR_SERVER_NAME},
};
use keylend_sidecar::{app::App, probe::Probe};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::oneshot,
    task::{JoinHandle, spawn_blocking},
    time::{sleep, timeout},
};

use crate::{
    scripted_operator::{Authority, ScriptedOperator, Step, encoded},
    sidecar::{HOUR, Token, config, granting},
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

async fn operator(authority: &Authority, enrols: &'static AtomicBool, ask: fn() -> Step) -> ScriptedOperator {
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
    sleep(Duration::from_millis(300)).await;
    assert!(running.answer("/stripe/v1").await.contains("Keylend-Refusal: policies_missing\r\n"));
    assert!(!running.says(Probe::Started).await && !running.says(Probe::Ready).await);
    ENROLS.store(true, Ordering::SeqCst);
    let enrolled = async {
        while !running.says(Probe::Started).await {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(5), enrolled).await.unwrap();
    assert!(running.says(Probe::Ready).await);
}

#[tokio::test]
async fn told_to_stop_it_takes_no_more_calls_and_ends_with_the_last_one() {
    static ENROLS: AtomicBool = AtomicBool::new(true);
    let authority = Authority::new();
    let slowly = || Step::AnswerAfter(Duration::from_millis(600), granting());
    let operator = operator(&authority, &ENROLS, slowly).await;
    let running = Running::start(&authority, &operator).await;
    while !running.says(Probe::Started).await {
        sleep(Duration::from_millis(20)).await;
    }
    let Running { address, stop, ended, _token } = running;
    let mut open = TcpStream::connect(address).await.unwrap();
    open.write_all(format!("GET /stripe/v1 HTTP/1.1\r\nHost: {address}\r\n\r\n").as_bytes()).await.unwrap();
    sleep(Duration::from_millis(200)).await;
    stop.send(()).unwrap();
    sleep(Duration::from_millis(100)).await;
    assert!(TcpStream::connect(address).await.is_err(), "it still listens");
    assert!(!ended.is_finished(), "it left a call behind");
    let mut answer = String::new();
    open.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 "), "{answer}");
    assert!(timeout(Duration::from_secs(2), ended).await.unwrap().unwrap());
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
