//! Points at which the crash tests let the process die; nothing outside of tests.

/// Dies here if a crash test asked for it.
#[cfg(test)]
pub(crate) fn point(name: &str) {
    if std::env::var("COOPER_STORE_DIES_AT").is_ok_and(|wanted| wanted == name) {
        // Not an exit: nothing is unwound, dropped or flushed, as with SIGKILL.
        std::process::abort();
    }
}

/// Does nothing.
#[cfg(not(test))]
pub(crate) fn point(_name: &str) {}
