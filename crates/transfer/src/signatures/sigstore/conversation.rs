//! The person who signs, as far as the services know of one.

use std::io;

/// The person who signs, who may have to say to an issuer of identities who it is.
pub trait Conversation: Send + Sync {
    /// Tells something.
    fn tell(&self, text: &str);

    /// Asks something, and returns the answer.
    ///
    /// # Errors
    /// When there is none.
    fn ask(&self, question: &str) -> io::Result<String>;

    /// Opens an address in the person's browser.
    ///
    /// # Errors
    /// When there is no browser.
    fn browse(&self, url: &str) -> io::Result<()>;
}
