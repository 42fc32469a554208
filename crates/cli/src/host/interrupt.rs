//! Ctrl-C and SIGTERM: the running step is ended, what it held is given back, and the exit status
//! says which signal it was.

use std::io::Read as _;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::failure::Failure;

/// The signal that has asked us to end, if one has.
#[derive(Debug, Clone)]
pub struct Interrupt {
    signal: Arc<AtomicUsize>,
}

impl Interrupt {
    /// Listens for signals from now on; `on_signal` is called in a thread of its own, for each.
    pub fn install(on_signal: impl Fn(i32) + Send + 'static) -> std::io::Result<Self> {
        let signal = Arc::new(AtomicUsize::new(0));
        let (mut woken, wake) = UnixStream::pair()?;
        for number in [SIGINT, SIGTERM, SIGHUP] {
            let value = usize::try_from(number).unwrap_or_default();
            signal_hook::flag::register_usize(number, Arc::clone(&signal), value)?;
            // Registered second: the number is there when the thread wakes.
            signal_hook::low_level::pipe::register(number, wake.try_clone()?)?;
        }
        let interrupt = Self { signal };
        let listener = interrupt.clone();
        std::thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || {
                let mut byte = [0];
                while woken.read_exact(&mut byte).is_ok() {
                    if let Some(number) = listener.signal() {
                        on_signal(number);
                    }
                }
            })?;
        Ok(interrupt)
    }

    /// The number of the last signal.
    pub fn signal(&self) -> Option<i32> {
        match self.signal.load(Ordering::SeqCst) {
            0 => None,
            number => i32::try_from(number).ok(),
        }
    }

    /// Gives a failure that a signal has caused the status that shells expect: 128 and its number.
    pub fn explain(&self, failure: Failure) -> Failure {
        match self.signal() {
            None => failure,
            Some(number) => Failure {
                status: u8::try_from(128 + number).unwrap_or(crate::failure::FAILED),
                ..failure
            },
        }
    }
}
