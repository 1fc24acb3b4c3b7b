//! Writes log lines in batches, so that a request does not wait for the write of its line.
//!
//! Lines are appended to memory, and a thread writes what has been appended: at once if that is much,
//! else after [`MAX_DELAY`]. No line is dropped. If the reader of the log is slow and the memory is
//! full, the thread that logs waits, as it would without a buffer.
//!
//! A process begins to buffer when it handles signals, and stops before it exits. Outside of this
//! time each line is written at once. Only a process that is killed, or crashes without a panic, can
//! lose lines: those of the last [`MAX_DELAY`], and those that its reader had no room for.

use std::{
    io::{self, ErrorKind},
    thread,
    time::Duration,
};

use parking_lot::{Condvar, Mutex};
use tracing_subscriber::fmt::MakeWriter;

/// How long a line waits for other lines.
const MAX_DELAY: Duration = Duration::from_millis(20);
/// The number of bytes that are written without a delay.
const BATCH_BYTES: usize = 64 << 10;
/// The number of bytes that may wait.
const MAX_WAITING_BYTES: usize = 1 << 20;
/// The pause before another write to a terminal or pipe that does not block.
const RETRY_PAUSE: Duration = Duration::from_millis(1);

/// A writer of lines.
pub(super) struct LineWriter<W> {
    waiting: Mutex<Waiting>,
    /// Lines wait, or enough lines for a write.
    filled: Condvar,
    /// The waiting lines were taken.
    taken: Condvar,
    /// Locked before `waiting`, and while lines are written, so that lines stay in order.
    output: Mutex<Output<W>>,
}

struct Waiting {
    lines: Vec<u8>,
    is_buffered: bool,
}

struct Output<W> {
    to: W,
    batch: Vec<u8>,
}

impl<W: io::Write> LineWriter<W> {
    /// Each line is written at once, until [`LineWriter::start_buffering`].
    pub(super) fn new(to: W) -> Self {
        Self {
            waiting: Mutex::new(Waiting { lines: Vec::new(), is_buffered: false }),
            filled: Condvar::new(),
            taken: Condvar::new(),
            output: Mutex::new(Output { to, batch: Vec::new() }),
        }
    }

    /// Appends lines for the next write. Waits while too many lines wait already.
    fn append(&self, lines: &[u8]) {
        let mut waiting = self.waiting.lock();
        while waiting.is_buffered && !waiting.lines.is_empty() && waiting.lines.len() + lines.len() > MAX_WAITING_BYTES
        {
            self.taken.wait(&mut waiting);
        }
        let before = waiting.lines.len();
        waiting.lines.extend_from_slice(lines);
        let is_due = before == 0 || (before < BATCH_BYTES && waiting.lines.len() >= BATCH_BYTES);
        let is_buffered = waiting.is_buffered;
        drop(waiting);
        if !is_buffered {
            self.flush();
        } else if is_due {
            self.filled.notify_one();
        }
    }

    /// Writes the lines that wait.
    pub(super) fn flush(&self) {
        let mut output = self.output.lock();
        let Output { to, batch } = &mut *output;
        std::mem::swap(&mut self.waiting.lock().lines, batch);
        self.taken.notify_all();
        write_all(to, batch);
        batch.clear();
        // What a burst of lines has allocated.
        batch.shrink_to(2 * BATCH_BYTES);
    }

    /// Writes the waiting lines, and from now on each line at once.
    pub(super) fn stop_buffering(&self) {
        self.waiting.lock().is_buffered = false;
        self.filled.notify_one();
        self.taken.notify_all();
        self.flush();
    }

    /// Writes lines as they come, until [`LineWriter::stop_buffering`].
    fn run(&self) {
        loop {
            let mut waiting = self.waiting.lock();
            while waiting.is_buffered && waiting.lines.is_empty() {
                self.filled.wait(&mut waiting);
            }
            if !waiting.is_buffered {
                return;
            }
            if waiting.lines.len() < BATCH_BYTES {
                self.filled.wait_for(&mut waiting, MAX_DELAY);
            }
            drop(waiting);
            self.flush();
        }
    }
}

impl<W: io::Write + Send> LineWriter<W> {
    /// From now on a thread writes the lines. If the thread cannot be started, each line is written
    /// at once.
    pub(super) fn start_buffering(&'static self) {
        let is_buffered = std::mem::replace(&mut self.waiting.lock().is_buffered, true);
        if is_buffered {
            return;
        }
        let started = thread::Builder::new().name("paddock-log".into()).spawn(move || self.run());
        if let Err(error) = started {
            self.stop_buffering();
            tracing::warn!(%error, "cannot start the thread that writes log lines");
        }
    }
}

/// Writes everything. After an error there is no place to report it, and the rest is dropped.
fn write_all(to: &mut impl io::Write, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match to.write(bytes) {
            Ok(0) => return,
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(RETRY_PAUSE),
            Err(_) => return,
        }
    }
}

/// Appends to a [`LineWriter`]. Each write is one or more whole lines.
pub(super) struct Lines(&'static LineWriter<io::Stderr>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.append(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for &'static LineWriter<io::Stderr> {
    type Writer = Lines;

    fn make_writer(&self) -> Lines {
        Lines(self)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            mpsc::{Receiver, Sender, channel},
        },
        time::Instant,
    };

    use super::*;
    use crate::logging::test_buffer::Buffer;

    fn leaked<W: io::Write + Send + 'static>(to: W) -> &'static LineWriter<W> {
        Box::leak(Box::new(LineWriter::new(to)))
    }

    /// Waits for a condition for up to ten seconds.
    fn wait_until(condition: impl Fn() -> bool) {
        let start = Instant::now();
        while !condition() {
            assert!(start.elapsed() < Duration::from_secs(10));
            thread::yield_now();
        }
    }

    /// Blocks each write until the test allows it.
    struct Gate {
        open: Receiver<()>,
        to: Buffer,
        writes: Arc<Mutex<Vec<usize>>>,
    }

    impl Gate {
        fn new() -> (Self, Sender<()>, Buffer, Arc<Mutex<Vec<usize>>>) {
            let ((opener, open), to, writes) = (channel(), Buffer::default(), Arc::default());
            (Self { open, to: to.clone(), writes: Arc::clone(&writes) }, opener, to, writes)
        }
    }

    impl io::Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // Without a sender the gate stays open.
            let _ = self.open.recv();
            self.writes.lock().push(bytes.len());
            io::Write::write(&mut self.to, bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_is_written_at_once_unless_lines_are_buffered() {
        let buffer = Buffer::default();
        let writer = leaked(buffer.clone());
        writer.append(b"a\n");
        assert_eq!(buffer.text(), "a\n");
        writer.start_buffering();
        writer.append(b"b\n");
        wait_until(|| buffer.text() == "a\nb\n");
        writer.stop_buffering();
        writer.append(b"c\n");
        assert_eq!(buffer.text(), "a\nb\nc\n");
    }

    #[test]
    fn lines_of_many_threads_arrive_whole_and_in_the_order_of_each_thread() {
        let buffer = Buffer::default();
        let writer = leaked(buffer.clone());
        writer.start_buffering();
        thread::scope(|scope| {
            for thread in 0..4 {
                scope.spawn(move || {
                    (0..5_000).for_each(|line| writer.append(format!("{thread} {line}\n").as_bytes()));
                });
            }
        });
        writer.stop_buffering();
        let text = buffer.text();
        for thread in 0..4 {
            let own = text.lines().filter_map(|line| line.strip_prefix(&format!("{thread} ")));
            assert!(own.eq((0..5_000).map(|line| line.to_string())));
        }
        assert_eq!(text.lines().count(), 20_000);
    }

    #[test]
    fn lines_that_wait_are_written_together() {
        let (gate, opener, buffer, lengths) = Gate::new();
        let writer = leaked(gate);
        writer.start_buffering();
        writer.append(b"first\n");
        // The thread holds this lock while it writes.
        wait_until(|| writer.output.is_locked() && writer.waiting.lock().lines.is_empty());
        (0..100).for_each(|_| writer.append(b"line\n"));
        drop(opener);
        writer.stop_buffering();
        assert_eq!(*lengths.lock(), [6, 500]);
        assert_eq!(buffer.text().lines().count(), 101);
    }

    #[test]
    fn a_blocked_reader_delays_lines_and_loses_none() {
        let (gate, opener, buffer, _) = Gate::new();
        let writer = leaked(gate);
        writer.start_buffering();
        let line = [&[b'x'; 1023][..], b"\n"].concat();
        let many = 4 * MAX_WAITING_BYTES / line.len();
        thread::scope(|scope| {
            let logging = scope.spawn(|| (0..many).for_each(|_| writer.append(&line)));
            wait_until(|| writer.waiting.lock().lines.len() + line.len() > MAX_WAITING_BYTES);
            assert!(!logging.is_finished());
            drop(opener);
        });
        writer.stop_buffering();
        assert_eq!(buffer.text().lines().count(), many);
    }
}
