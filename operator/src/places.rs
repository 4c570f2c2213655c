//! A bounded number of connections from people we do not know, of which the oldest leaves when another comes.
//!
//! Anybody in the cluster can open connections and let them idle. Were newcomers turned away, a few hundred such would shut
//! out a probe, the API server and every pod that starts. So the newcomer gets in: who has business here is done in
//! a moment, sooner than anybody can open as many connections as there are places. One address has but a part of them, and
//! makes room for itself.

use std::{collections::VecDeque, future::Future, net::IpAddr};

use tokio::task::AbortHandle;

/// The places of one listener.
pub struct Places {
    most: usize,
    taken: VecDeque<(IpAddr, AbortHandle)>,
}

/// One address has this part of the places.
const PART: usize = 8;

impl Places {
    /// Room for `most` connections.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { most, taken: VecDeque::with_capacity(most) }
    }

    /// Lets a connection of `peer` in. If there is no room, the oldest one leaves: of the same peer if that has its part.
    pub fn admit(&mut self, peer: IpAddr, connection: impl Future<Output = ()> + Send + 'static) {
        self.taken.retain(|(_, open)| !open.is_finished());
        let mut theirs = (0..self.taken.len()).filter(|place| self.taken[*place].0 == peer);
        let leaves = match theirs.next() {
            Some(oldest) if theirs.count() + 1 >= self.most.div_ceil(PART) => Some(oldest),
            _ => (self.taken.len() >= self.most).then_some(0),
        };
        if let Some((_, oldest)) = leaves.and_then(|place| self.taken.remove(place)) {
            oldest.abort();
        }
        self.taken.push_back((peer, tokio::spawn(connection).abort_handle()));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

    use super::*;

    /// The address of stranger `number`.
    fn stranger(number: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, number])
    }

    /// An idle connection of stranger `number`, and what tells that its task is gone.
    fn idle(places: &mut Places, number: u8) -> UnboundedReceiver<()> {
        let (alive, ended) = unbounded_channel();
        places.admit(stranger(number), async move {
            let _alive = alive;
            std::future::pending::<()>().await;
        });
        ended
    }

    async fn stays(open: &mut UnboundedReceiver<()>) -> bool {
        tokio::time::timeout(Duration::from_millis(10), open.recv()).await.is_err()
    }

    #[tokio::test]
    async fn the_oldest_leaves_when_there_is_no_room() {
        let mut places = Places::new(3);
        let mut open: Vec<_> = (0..3).map(|number| idle(&mut places, number)).collect();
        let (answered, answer) = tokio::sync::oneshot::channel();
        places.admit(stranger(9), async move {
            let _ = answered.send(());
        });
        answer.await.unwrap();
        assert_eq!(open[0].recv().await, None);
        for open in &mut open[1..] {
            assert!(stays(open).await);
        }
    }

    #[tokio::test]
    async fn one_address_makes_room_for_itself() {
        let mut places = Places::new(16);
        let mut other = idle(&mut places, 1);
        let mut many: Vec<_> = (0..20).map(|_| idle(&mut places, 2)).collect();
        assert!(stays(&mut other).await);
        for (number, open) in many.iter_mut().enumerate() {
            assert_eq!(stays(open).await, number >= 18, "{number}");
        }
    }

    #[tokio::test]
    async fn those_who_are_done_take_no_room() {
        let mut places = Places::new(2);
        let mut open = idle(&mut places, 1);
        for number in 10..20 {
            places.admit(stranger(number), std::future::ready(()));
            tokio::task::yield_now().await;
        }
        assert!(stays(&mut open).await);
    }
}
