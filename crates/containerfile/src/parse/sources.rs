//! `COPY` and `ADD`.

use std::ops::Range;

use crate::chmod::Chmod;
use crate::diagnostic::Diagnostic;
use crate::heredoc::{Heredoc, parse_opener};
use crate::op::{Add, Copy, CopySource, Keyword};
use crate::parse::instruction::{Failed, Instruction};
use crate::span::Span;
use crate::template::{Template, TemplateKind};
use crate::words::{FlagWord, blank_words};

const COPY_FLAGS: &str = "COPY only supports the --chmod=<permissions>, --chown=<uid:gid>, \
    --from=<image|stage>, --link, --parents, and --exclude=<pattern> flags";
const COPY_VALUES: &str = "COPY only supports the --chmod=<permissions> --chown=<uid:gid> \
    --from=<image|stage> and the --exclude=<pattern> flags";
const ADD_FLAGS: &str = "ADD only supports the --chmod=<permissions>, --chown=<uid:gid>, \
    --checksum=<checksum>, --link, --keep-git-dir, and --exclude=<pattern> flags";

/// The flags of both instructions; which of them one has is decided while reading.
#[derive(Default)]
struct Flags {
    from: Option<Template>,
    chown: Option<Template>,
    chmod: Option<Template>,
    checksum: Option<Template>,
    excludes: Vec<Template>,
    link: bool,
    parents: bool,
    keep_git_dir: bool,
    unpack: Option<bool>,
}

struct Paths {
    sources: Vec<CopySource>,
    destination: Template,
}

impl Instruction<'_> {
    pub(super) fn copy(&self, out: &mut Vec<Diagnostic>) -> Failed<Copy> {
        let (flags, range) = self.flags();
        let Flags {
            from,
            chown,
            chmod,
            excludes,
            link,
            parents,
            ..
        } = self.source_flags(&flags, out)?;
        let Paths {
            sources,
            destination,
        } = self.paths(range)?;
        for source in &sources {
            if let CopySource::Path(path) = source
                && ["http://", "https://"]
                    .iter()
                    .any(|scheme| path.text().starts_with(scheme))
            {
                let found = self.fail(path.at(), "source can't be a URL for COPY");
                return Err(Box::new(found.with_help("ADD takes URLs")));
            }
        }
        Ok(Copy {
            from,
            sources,
            destination,
            chown,
            chmod,
            link,
            parents,
            excludes,
        })
    }

    pub(super) fn add(&self, out: &mut Vec<Diagnostic>) -> Failed<Add> {
        let (flags, range) = self.flags();
        let Flags {
            chown,
            chmod,
            checksum,
            excludes,
            link,
            keep_git_dir,
            unpack,
            ..
        } = self.source_flags(&flags, out)?;
        let Paths {
            sources,
            destination,
        } = self.paths(range)?;
        Ok(Add {
            sources,
            destination,
            chown,
            chmod,
            link,
            excludes,
            checksum,
            keep_git_dir,
            unpack,
        })
    }

    fn source_flags(&self, words: &[FlagWord], out: &mut Vec<Diagnostic>) -> Failed<Flags> {
        self.warn_repeated(words, &["exclude"], out);
        let mut flags = Flags::default();
        for word in words {
            self.source_flag(word, &mut flags)?;
        }
        Ok(flags)
    }

    fn source_flag(&self, word: &FlagWord, flags: &mut Flags) -> Failed<()> {
        let at = self.line.span(&word.range);
        let is_copy = self.keyword() == Some(Keyword::Copy);
        let (name, value) = word.split();
        match (name, is_copy) {
            ("from", true) => flags.from = Some(self.value(name, value, at)?),
            ("chown", _) => flags.chown = Some(self.value(name, value, at)?),
            ("chmod", _) => {
                let mode = self.value(name, value, at)?;
                if let Some(Err(cause)) = mode.as_literal().map(|mode| Chmod::parse(&mode)) {
                    return Err(self.fail(at, cause.to_string()));
                }
                flags.chmod = Some(mode);
            }
            ("exclude", _) => flags.excludes.push(self.value(name, value, at)?),
            ("checksum", false) => flags.checksum = Some(self.value(name, value, at)?),
            ("link", _) => flags.link = self.boolean(name, value, at)?,
            ("parents", true) => flags.parents = self.boolean(name, value, at)?,
            ("keep-git-dir", false) => flags.keep_git_dir = self.boolean(name, value, at)?,
            ("unpack", false) => flags.unpack = Some(self.boolean(name, value, at)?),
            (_, true) => return Err(self.fail(at, COPY_FLAGS)),
            (_, false) => return Err(self.fail(at, ADD_FLAGS)),
        }
        Ok(())
    }

    fn value(&self, name: &str, value: Option<&str>, at: Span) -> Failed<Template> {
        let is_copy = self.keyword() == Some(Keyword::Copy);
        match value {
            None => Err(self.fail(at, if is_copy { COPY_VALUES } else { ADD_FLAGS })),
            Some("") => Err(self.fail(at, format!("no value specified for --{name}="))),
            Some(value) => self.template(value, at),
        }
    }

    fn boolean(&self, name: &str, value: Option<&str>, at: Span) -> Failed<bool> {
        match value {
            None | Some("true") => Ok(true),
            Some("false") => Ok(false),
            Some(value) => {
                let message = format!("invalid value {value:?} for --{name}: not true or false");
                Err(self.fail(at, message))
            }
        }
    }

    fn paths(&self, range: Range<usize>) -> Failed<Paths> {
        let mut words = self.path_words(range)?;
        let too_few = || {
            let message = format!("{} requires at least two arguments", self.name());
            self.fail(self.rest_span(), message)
        };
        let destination = words.pop().ok_or_else(too_few)?;
        if words.is_empty() {
            return Err(too_few());
        }
        let mut heredocs = self.line.heredocs.iter();
        let mut sources = Vec::new();
        for word in words {
            let named = |name: &str| {
                heredocs
                    .as_slice()
                    .first()
                    .is_some_and(|heredoc| heredoc.name == name)
            };
            match parse_opener(word.text()).filter(|opener| named(&opener.name)) {
                Some(_) => sources.extend(heredocs.next().map(|h| self.heredoc_source(h))),
                None => sources.push(Ok(CopySource::Path(word))),
            }
        }
        if let Some(left) = heredocs.next() {
            let message = format!("the heredoc {} is not a source", left.name);
            return Err(self.fail(destination.at(), message));
        }
        let sources = sources.into_iter().collect::<Failed<Vec<_>>>()?;
        Ok(Paths {
            sources,
            destination,
        })
    }

    fn path_words(&self, range: Range<usize>) -> Failed<Vec<Template>> {
        if let Some(words) = self.json(&range)? {
            let at = self.line.span(&range);
            return words.iter().map(|word| self.template(word, at)).collect();
        }
        let words = blank_words(&self.line.text[range.clone()]).into_iter();
        let words = words.map(|w| range.start + w.start..range.start + w.end);
        words.map(|word| self.word_at(word)).collect()
    }

    fn heredoc_source(&self, heredoc: &Heredoc) -> Failed<CopySource> {
        let content = heredoc.content();
        let body = if heredoc.expand {
            Template::parse(&content, self.escape, TemplateKind::HeredocBody, heredoc.at)
                .map_err(|cause| self.fail_resolve(heredoc.at, &cause))?
        } else {
            Template::literal(&content, heredoc.at)
        };
        Ok(CopySource::Heredoc {
            name: heredoc.name.clone(),
            body,
        })
    }
}
