//! A bounded number of connections from people we do not know, of which the oldest leaves when another comes.
//!
//! Anybody in the cluster can open connections and let them idle. Were newcomers turned away, a few hundred such would shut
//! out a probe, the API server and every pod that starts. So the newcomer gets in: who has business here is done in
//! milliseconds, far sooner than anybody can open as many connections as there are places.

use std::{collections::VecDeque, future::Future};

use tokio::task::AbortHandle;

/// The places of one listener.
pub struct Places {
    most: usize,
    taken: VecDeque<AbortHandle>,
}

impl Places {
    /// Room for `most` connections.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { most, taken: VecDeque::with_capacity(most) }
    }

    /// Lets a connection in, and the oldest one out if there is no room.
    pub fn admit(&mut self, connection: impl Future<Output = ()> + Send + 'static) {
        self.taken.retain(|open| !open.is_finished());
        if self.taken.len() >= self.most
            && let Some(oldest) = self.taken.pop_front()
        {
            oldest.abort();
        }
        self.taken.push_back(tokio::spawn(connection).abort_handle());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

    use super::*;

    /// Idle connections, and what tells that all their tasks are gone.
    fn idle(places: &mut Places, number: usize) -> Vec<UnboundedReceiver<()>> {
        let one = |_| {
            let (alive, ended) = unbounded_channel();
            places.admit(async move {
                let _alive = alive;
                std::future::pending::<()>().await;
            });
            ended
        };
        (0..number).map(one).collect()
    }

    #[tokio::test]
    async fn the_oldest_leaves_when_there_is_no_room() {
        let mut places = Places::new(3);
        let mut open = idle(&mut places, 3);
        let (answered, answer) = tokio::sync::oneshot::channel();
        places.admit(async move {
            let _ = answered.send(());
        });
        answer.await.unwrap();
        assert_eq!(open[0].recv().await, None);
        for stays in &mut open[1..] {
            assert!(tokio::time::timeout(Duration::from_millis(10), stays.recv()).await.is_err());
        }
    }

    #[tokio::test]
    async fn those_who_are_done_take_no_room() {
        let mut places = Places::new(2);
        let mut open = idle(&mut places, 1);
        for _ in 0..10 {
            places.admit(std::future::ready(()));
            tokio::task::yield_now().await;
        }
        assert!(tokio::time::timeout(Duration::from_millis(10), open[0].recv()).await.is_err());
    }
}
