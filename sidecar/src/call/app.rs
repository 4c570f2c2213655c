//! The app's side of one connection.

use std::{io, time::Duration};

use keylend_contract::refusal::Refusal;
use tokio::{
    io::AsyncWriteExt,
    net::tcp::{ReadHalf, WriteHalf},
    time::timeout,
};

use super::buffers::{Inlet, Outlet, Spare};
use crate::{
    fault::Failure,
    http1::{BodyDecoder, CONTINUE, Expectation, Framing, Persistence, RequestHead, Step},
};

/// The longest body that is read only to keep the connection.
const DRAINED: u64 = 64 * 1024;
/// How long that may take, and how long an app may take to read its answer before its connection is closed under it.
const DRAIN_TIME: Duration = Duration::from_secs(1);

/// One connection, between its requests or within one.
pub struct App<'c> {
    /// What comes from it.
    pub read: ReadHalf<'c>,
    /// What goes to it.
    pub write: WriteHalf<'c>,
    /// What came and was not yet used.
    pub input: Inlet<'c>,
    /// The response to the present request, as far as it waits to leave.
    pub out: Outlet<'c>,
    /// Where buffers come from.
    pub spare: &'c Spare,
    /// How much of the present request was read.
    pub body: BodyRead,
    /// An interim answer is on its way: should that end in between, nothing can follow it.
    pub inviting: bool,
}

/// How much of a request's body was read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BodyRead {
    /// Nothing: it starts where the input does.
    Nothing,
    /// A part of it.
    Part,
    /// All of it, or there is none.
    Whole,
}

impl<'c> App<'c> {
    /// A connection on which nothing happened yet.
    #[must_use]
    pub fn new(read: ReadHalf<'c>, write: WriteHalf<'c>, spare: &'c Spare) -> Self {
        let (input, out) = (Inlet::new(spare), Outlet::new(spare));
        Self { read, write, input, out, spare, body: BodyRead::Whole, inviting: false }
    }

    /// Starts over for the request with `head`, which was just taken from the input.
    pub fn begin(&mut self, head: &RequestHead) {
        self.input.release();
        self.out.restart();
        self.body = if head.has_body() { BodyRead::Nothing } else { BodyRead::Whole };
    }

    /// Tells an app that waits for it to send its body.
    ///
    /// # Errors
    /// [`Refusal::RequestMalformed`] when it is gone.
    pub async fn invite(&mut self, head: &RequestHead) -> Result<(), Failure> {
        if head.expectation() == Expectation::Nothing || !head.has_body() || !self.input.is_empty() {
            return Ok(());
        }
        self.inviting = true;
        let mut out = Outlet::new(self.spare);
        out.pass(&mut self.write, [CONTINUE, b"", b""]).await.map_err(|_| gone())?;
        out.send(&mut self.write).await.map_err(|_| gone())?;
        self.inviting = false;
        Ok(())
    }

    /// Whether the connection can serve another request after an answer that came before the body was read: only where
    /// the rest is short, and on its way.
    #[must_use]
    pub fn outlook(&self, head: &RequestHead) -> Persistence {
        let short = match (self.body, head.framing(), head.expectation()) {
            (BodyRead::Whole, ..) => true,
            (BodyRead::Nothing, Framing::Length(length), Expectation::Nothing) => length <= DRAINED,
            (BodyRead::Nothing | BodyRead::Part, ..) => false,
        };
        if short { head.persistence() } else { Persistence::Close }
    }

    /// Reads what is left of a body that [`outlook`](Self::outlook) found short.
    ///
    /// # Errors
    /// The connection's, or when it takes too long: it then serves no more.
    pub async fn drain(&mut self, head: &RequestHead) -> io::Result<()> {
        if self.body == BodyRead::Whole {
            return Ok(());
        }
        let mut decoder = BodyDecoder::new(head.framing());
        let drained = async {
            loop {
                let step = decoder.decode(self.input.bytes()).map_err(io::Error::other)?;
                self.input.consume(step.used());
                match step {
                    Step::End { .. } => return Ok(()),
                    Step::More { .. } if self.input.fill(&mut self.read).await? == 0 => {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    Step::Data(_) | Step::More { .. } => {}
                }
            }
        };
        timeout(DRAIN_TIME, drained).await?
    }

    /// Ends our side and waits a moment for the app's: closed at once, unread input would make the kernel take back the
    /// answer that is on its way.
    pub async fn part(mut self) {
        if self.write.shutdown().await.is_err() {
            return;
        }
        let unread = async {
            let mut left = DRAINED;
            while left > 0 {
                let waiting = self.input.bytes().len();
                self.input.consume(waiting);
                match self.input.fill(&mut self.read).await {
                    Ok(0) | Err(_) => return,
                    Ok(count) => left = left.saturating_sub(count as u64),
                }
            }
        };
        // Whether it left or not, the connection is closed now.
        let _ = timeout(DRAIN_TIME, unread).await;
    }
}

/// Nobody is there to read this.
pub(super) fn gone() -> Failure {
    Refusal::RequestMalformed { reason: "the connection closed before the exchange was over".into() }.into()
}
