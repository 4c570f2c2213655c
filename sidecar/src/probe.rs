//! The kubelet's probes, by exec of the binary itself: the image holds nothing else.
//!
//! A probe asks the running sidecar over its own listener and learns yes or no, nothing more.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    str::FromStr,
    time::Duration,
};

use keylend_contract::injected::{READY, STARTED};

/// How long each step may take; all of them end within [`PROBE_TIMEOUT`](keylend_contract::injected::PROBE_TIMEOUT).
const LIMIT: Duration = Duration::from_millis(400);

/// What the kubelet wants to know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Probe {
    /// Whether the sidecar is enrolled; no other container starts before.
    Started,
    /// Whether it takes calls now.
    Ready,
}

impl Probe {
    /// Where the listener answers it.
    #[must_use]
    pub fn path(self) -> &'static str {
        match self {
            Self::Started => "/.keylend/started",
            Self::Ready => "/.keylend/ready",
        }
    }

    /// Asks the sidecar that listens at `listener`; `Ok(true)` is yes.
    ///
    /// # Errors
    /// If it cannot be reached, or does not answer in time.
    pub fn ask(self, listener: SocketAddr) -> io::Result<bool> {
        let mut stream = TcpStream::connect_timeout(&listener, LIMIT)?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.set_write_timeout(Some(LIMIT))?;
        let path = self.path();
        let request = format!("GET {path} HTTP/1.1\r\nHost: {listener}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes())?;
        let mut status = [0; 13];
        stream.read_exact(&mut status)?;
        Ok(status.starts_with(b"HTTP/1.1 2"))
    }
}

/// No probe of this name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a probe is 'started' or 'ready'")]
pub struct ProbeUnknown;

impl FromStr for Probe {
    type Err = ProbeUnknown;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            STARTED => Ok(Self::Started),
            READY => Ok(Self::Ready),
            _ => Err(ProbeUnknown),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, thread};

    use super::*;

    /// A listener that answers one request with `answer`, and gives the request back.
    fn listener(answer: &'static str) -> (SocketAddr, thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked = thread::spawn(move || {
            let mut stream = listener.accept().unwrap().0;
            let mut request = vec![0; 1024];
            let length = stream.read(&mut request).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8(request[..length].to_vec()).unwrap()
        });
        (address, asked)
    }

    #[test]
    fn only_a_success_is_yes() {
        let table = [
            ("HTTP/1.1 200 OK\r\n\r\n", Some(true)),
            ("HTTP/1.1 204 No Content\r\n\r\n", Some(true)),
            ("HTTP/1.1 503 Service Unavailable\r\n\r\n", Some(false)),
            ("HTTP/1.1 302 Found\r\n\r\n", Some(false)),
            ("nonsense that is long", Some(false)),
            ("HTTP/1.1", None),
            ("", None),
        ];
        for (answer, expected) in table {
            let (address, asked) = listener(answer);
            assert_eq!(Probe::Ready.ask(address).ok(), expected, "{answer}");
            let request = asked.join().unwrap();
            assert!(request.starts_with(&format!("GET /.keylend/ready HTTP/1.1\r\nHost: {address}\r\n")));
        }
    }

    #[test]
    fn nobody_listening_is_no_answer() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert!(Probe::Started.ask(free).is_err());
    }

    #[test]
    fn there_are_two_probes() {
        assert_eq!("started".parse(), Ok(Probe::Started));
        assert_eq!("ready".parse(), Ok(Probe::Ready));
        assert_eq!("live".parse::<Probe>(), Err(ProbeUnknown));
    }
}
