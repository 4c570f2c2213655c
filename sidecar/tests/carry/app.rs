//! An app that writes bytes and reads answers.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// Longer than anything here should take.
const PATIENCE: Duration = Duration::from_secs(20);

pub struct App {
    stream: TcpStream,
    waiting: Vec<u8>,
}

/// One response, its body with chunks put together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: String,
    pub trailers: String,
}

impl Reply {
    pub fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (given, value) = line.split_once(": ")?;
            given.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    /// Our own code, if this is our own answer.
    pub fn refusal(&self) -> Option<&str> {
        self.field("Keylend-Refusal")
    }
}

impl App {
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, waiting: vec![] }
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    /// Sends a request with these fields and this body to the route `r`, and reads the answer.
    pub async fn call(&mut self, line: &str, fields: &str, body: &str) -> Reply {
        let head = line.split(' ').next().unwrap() == "HEAD";
        let request = self.request(line, fields, body);
        self.send(request).await;
        self.reply_to(head).await
    }

    pub fn request(&self, line: &str, fields: &str, body: &str) -> String {
        let host = self.stream.peer_addr().unwrap();
        format!("{line} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n{body}")
    }

    pub async fn get(&mut self) -> Reply {
        self.call("GET /r/", "", "").await
    }

    pub async fn reply(&mut self) -> Reply {
        self.reply_to(false).await
    }

    async fn reply_to(&mut self, asked_head: bool) -> Reply {
        let head = self.until(b"\r\n\r\n").await;
        let status: u16 = head[9..12].parse().unwrap();
        let mut reply = Reply { status, head, body: String::new(), trailers: String::new() };
        if asked_head || [100, 204, 304].contains(&status) {
            return reply;
        }
        if reply.field("Transfer-Encoding") == Some("chunked") {
            loop {
                let size = self.until(b"\r\n").await;
                let size = usize::from_str_radix(size.trim_end(), 16).unwrap();
                if size == 0 {
                    break;
                }
                reply.body += &self.exactly(size).await;
                assert_eq!(self.exactly(2).await, "\r\n");
            }
            loop {
                let line = self.until(b"\r\n").await;
                if line == "\r\n" {
                    return reply;
                }
                reply.trailers += &line;
            }
        }
        let length = reply.field("Content-Length").unwrap().parse().unwrap();
        reply.body = self.exactly(length).await;
        reply
    }

    /// Everything up to and with `end`.
    pub async fn until(&mut self, end: &[u8]) -> String {
        loop {
            if let Some(start) = self.waiting.windows(end.len()).position(|window| window == end) {
                let found: Vec<_> = self.waiting.drain(..start + end.len()).collect();
                return String::from_utf8(found).unwrap();
            }
            let sofar = String::from_utf8_lossy(&self.waiting).into_owned();
            assert!(self.read().await > 0, "the connection ended after {sofar:?}");
        }
    }

    async fn exactly(&mut self, count: usize) -> String {
        while self.waiting.len() < count {
            assert!(self.read().await > 0, "the connection ended within a body");
        }
        String::from_utf8(self.waiting.drain(..count).collect()).unwrap()
    }

    /// Everything up to the end of the connection, a reset included.
    pub async fn rest(&mut self) -> String {
        while self.read().await > 0 {}
        String::from_utf8(std::mem::take(&mut self.waiting)).unwrap()
    }

    /// Whether the sidecar has closed the connection by now.
    pub async fn is_closed(&mut self) -> bool {
        let mut byte = [0];
        !matches!(timeout(Duration::from_millis(50), self.stream.peek(&mut byte)).await, Err(_) | Ok(Ok(1)))
    }

    /// Reads something; 0 at the end.
    async fn read(&mut self) -> usize {
        let read = timeout(PATIENCE, self.stream.read_buf(&mut self.waiting)).await;
        read.expect("nothing came in time").unwrap_or(0)
    }
}
