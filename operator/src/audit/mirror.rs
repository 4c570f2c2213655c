//! Copies durable rows to standard output.
//!
//! Best effort: a reader that does not read costs rows here (they are counted), never time in the log.
//!
//! Never add: anything the log waits for.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use super::counters::{Counters, count};

/// What may wait to be copied.
const WAITING_BYTES: usize = 8 << 20;

/// The near end of the mirror.
#[derive(Debug)]
pub(super) struct Mirror {
    queue: Sender<Rows>,
    waiting: Arc<AtomicUsize>,
    counters: Arc<Counters>,
}

struct Rows {
    lines: Vec<u8>,
    rows: u64,
}

impl Mirror {
    /// Starts the thread that writes to `output`. It ends with the mirror; nobody joins it, for it may be stuck.
    pub(super) fn start(
        output: impl Write + Send + 'static,
        counters: Arc<Counters>,
    ) -> std::io::Result<Self> {
        let (queue, rows) = channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let (its_waiting, its_counters) = (Arc::clone(&waiting), Arc::clone(&counters));
        thread::Builder::new()
            .name("audit-mirror".to_owned())
            .spawn(move || copy(output, &rows, &its_waiting, &its_counters))?;
        Ok(Self { queue, waiting, counters })
    }

    /// Passes rows on, if there is place.
    pub(super) fn pass(&self, lines: Vec<u8>, rows: u64) {
        let bytes = lines.len();
        let before = self.waiting.fetch_add(bytes, Ordering::Relaxed);
        if before + bytes > WAITING_BYTES || self.queue.send(Rows { lines, rows }).is_err() {
            self.waiting.fetch_sub(bytes, Ordering::Relaxed);
            count(&self.counters.mirror_dropped, rows);
        }
    }
}

fn copy(mut output: impl Write, queue: &Receiver<Rows>, waiting: &AtomicUsize, counters: &Counters) {
    for Rows { lines, rows } in queue {
        if output.write_all(&lines).and_then(|()| output.flush()).is_err() {
            count(&counters.mirror_dropped, rows);
        }
        waiting.fetch_sub(lines.len(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn a_reader_that_does_not_read_costs_rows_and_no_time() {
        let (_unread, full) = io::pipe().unwrap();
        let counters = Arc::new(Counters::default());
        let mirror = Mirror::start(full, Arc::clone(&counters)).unwrap();
        let started = Instant::now();
        for _ in 0..100 {
            mirror.pass(vec![b'x'; WAITING_BYTES / 10], 7);
        }
        assert!(started.elapsed() < Duration::from_secs(5));
        assert_eq!(counters.read().mirror_dropped, 7 * 90);
    }

    #[test]
    fn a_closed_output_is_counted() {
        let (reader, closed) = io::pipe().unwrap();
        drop(reader);
        let counters = Arc::new(Counters::default());
        let mirror = Mirror::start(closed, Arc::clone(&counters)).unwrap();
        mirror.pass(b"x\n".to_vec(), 1);
        while counters.read().mirror_dropped == 0 {
            thread::yield_now();
        }
        assert_eq!(counters.read().mirror_dropped, 1);
    }
}
