//! A command as `RUN`, `CMD`, `ENTRYPOINT` and `HEALTHCHECK` take it.

/// A command in one of its two forms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// JSON form: the words, not expanded. Empty for `[]`.
    Exec(Vec<String>),
    /// Shell form: the text for the shell. Empty when nothing follows the keyword.
    Shell(String),
}
