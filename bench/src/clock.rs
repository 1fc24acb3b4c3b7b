//! The clock that the fake upstream and the load generator share, and its ticks.

use std::os::fd::OwnedFd;

use anyhow::Result;
use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime, timerfd_create,
    timerfd_settime,
};
use tokio::io::unix::AsyncFd;

/// Nanoseconds between two ticks.
pub(crate) const TICK_INTERVAL_NS: u64 = 200_000;

/// Nanoseconds since the start of the machine. All processes read the same clock, so a frame can
/// carry the time at which it should have been sent.
pub(crate) fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}

/// A timer of the kernel. tokio's timers have a resolution of one millisecond, which is more than
/// what a proxy adds.
pub(crate) struct Ticker(AsyncFd<OwnedFd>);

impl Ticker {
    /// Starts the timer. Needs a runtime.
    pub(crate) fn start() -> Result<Self> {
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        let tick = Timespec { tv_sec: 0, tv_nsec: i64::try_from(TICK_INTERVAL_NS)? };
        timerfd_settime(&timer, TimerfdTimerFlags::empty(), &Itimerspec { it_interval: tick, it_value: tick })?;
        #[expect(deprecated, reason = "sound for an OwnedFd; the replacement is an unsafe function")]
        let timer = AsyncFd::new(timer)?;
        Ok(Self(timer))
    }

    /// Calls `serve` at each tick. If the process did not run for several ticks, it calls once.
    pub(crate) async fn run(self, mut serve: impl FnMut()) {
        let mut expirations = [0; 8];
        while let Ok(mut ready) = self.0.readable().await {
            let _ = ready.try_io(|timer| Ok(rustix::io::read(timer.get_ref(), &mut expirations)?));
            serve();
        }
    }
}
