//! From written to bound: expands words, resolves names and follows what the steps of one
//! stage do to the configuration.
//!
//! All of it is pure once the base's configuration is known, so every stage is bound before
//! anything runs, and whatever cannot be carried out is refused here. Finding what a name
//! stands for is the graph's part; it is asked through [`Names`].

use crate::bound::{
    BoundCopy, BoundDirs, BoundMount, BoundOp, BoundRun, BoundStep, CopySource, CopyWord,
    HistoryText, InlineFile, Input, Link, Parents,
};
use crate::download;
use crate::error::StepFault;
use crate::mounts::unsupported;
use crate::scope::{Declared, Scope};
use containerfile::{
    Add, ArgDecl, Chmod, Command, Copy, CopySource as WrittenSource, Healthcheck, Keyword,
    MountText, Op, Pair, Run, RunMount, RunNetwork, RunSecurity, Span, Step, Template,
};
use model::{ContainerConfig, ManifestFormat};

/// The shell when none is set.
pub const DEFAULT_SHELL: [&str; 2] = ["/bin/sh", "-c"];

/// Behind the destination of a copy in its history line: fields of Buildah that are empty here.
/// Other versions compare the whole line.
const COPY_HISTORY_END: &str = "      ";

/// Answers what a name stands for.
pub trait Names {
    /// Returns the input that `name` stands for; `word` is how the flag is called in messages.
    ///
    /// # Errors
    /// [`StepFault::NoSuchSource`], or whatever binding that stage brings up.
    fn source(&mut self, word: &'static str, name: &str) -> Result<Input, NameError>;

    /// Returns the main context.
    fn context(&mut self) -> Input;
}

/// Why a name stands for nothing.
#[derive(Debug)]
pub enum NameError {
    /// The instruction is at fault.
    Here(StepFault),
    /// Something in the stage that is named is.
    There(crate::error::PlanError),
}

impl From<StepFault> for NameError {
    fn from(fault: StepFault) -> Self {
        Self::Here(fault)
    }
}

/// Follows one stage.
#[derive(Debug)]
pub struct Binder {
    /// The names visible now.
    pub scope: Scope,
    /// The configuration now.
    pub config: ContainerConfig,
    /// The author now.
    pub author: Option<String>,
    /// The steps until now.
    pub steps: Vec<BoundStep>,
    /// One line each.
    pub warnings: Vec<String>,
    format: ManifestFormat,
    shell_set: bool,
    cmd_set: bool,
}

impl Binder {
    /// Starts a stage on a base with `config`.
    #[must_use]
    pub fn new(
        scope: Scope,
        config: ContainerConfig,
        author: Option<String>,
        format: ManifestFormat,
    ) -> Self {
        Self {
            scope,
            config,
            author,
            steps: Vec::new(),
            warnings: Vec::new(),
            format,
            shell_set: false,
            cmd_set: false,
        }
    }

    /// Adds one step. `at` is where errors point.
    ///
    /// # Errors
    /// See [`NameError`].
    pub fn bind(&mut self, step: &Step, at: Span, names: &mut dyn Names) -> Result<(), NameError> {
        let mut history = HistoryText::Whole(nop(&keyword_and_rest(step)));
        let op = match &step.op {
            Op::Run(run) => {
                history = HistoryText::Whole(self.run_history(step));
                BoundOp::Run(Box::new(self.run(run, names)?))
            }
            Op::Copy(copy) => {
                let bound = self.copy(copy, names)?;
                history = copy_history(&bound);
                BoundOp::Copy(Box::new(bound))
            }
            Op::Add(add) => {
                let bound = self.add(add, names)?;
                history = copy_history(&bound);
                BoundOp::Copy(Box::new(bound))
            }
            Op::Workdir(word) => self.workdir(word)?,
            Op::Volume(words) => self.volume(words)?,
            Op::Arg(args) => {
                self.arg(args)?;
                let names = self.scope.declared_names().join(" ");
                history = HistoryText::Whole(nop(&format!("ARG {names}")));
                BoundOp::Config
            }
            Op::Env(pairs) => {
                for (name, value) in self.pairs(pairs, "ENV")? {
                    self.set_env(&name, &value);
                }
                BoundOp::Config
            }
            Op::Label(pairs) => {
                self.config.labels.extend(self.pairs(pairs, "LABEL")?);
                BoundOp::Config
            }
            other => {
                self.plain(other)?;
                BoundOp::Config
            }
        };
        self.steps.push(BoundStep {
            at,
            shown: step.display_text(),
            error_text: step.error_text(),
            op,
            history,
            author: self.author.clone(),
        });
        Ok(())
    }

    /// Expands a word with the names visible now.
    ///
    /// # Errors
    /// [`StepFault::Expand`].
    pub fn word(&self, word: &Template) -> Result<String, StepFault> {
        word.expand(&|name| self.scope.value(name).map(str::to_owned))
            .map_err(|source| expand_fault(word, source))
    }

    fn words(&self, words: &[Template]) -> Result<Vec<String>, StepFault> {
        words.iter().map(|word| self.word(word)).collect()
    }

    fn pairs(
        &self,
        pairs: &[Pair],
        keyword: &'static str,
    ) -> Result<Vec<(String, String)>, StepFault> {
        let expand = |pair: &Pair| {
            let key = self.word(&pair.key)?;
            if key.is_empty() {
                return Err(StepFault::BlankName { keyword });
            }
            Ok((key, self.word(&pair.value)?))
        };
        pairs.iter().map(expand).collect()
    }

    fn set_env(&mut self, name: &str, value: &str) {
        self.scope.set_env(name, value);
        let entry = format!("{name}={value}");
        let of_name = |old: &&mut String| old.split_once('=').map_or(&***old, |(n, _)| n) == name;
        match self.config.env.iter_mut().find(of_name) {
            Some(old) => *old = entry,
            None => self.config.env.push(entry),
        }
    }

    fn arg(&mut self, args: &[ArgDecl]) -> Result<(), StepFault> {
        for ArgDecl { name, default, .. } in args {
            let default = default.as_ref().map(|d| self.word(d)).transpose()?;
            match self.scope.declare(name, default) {
                Declared::Valued => {}
                Declared::Unset => self.warnings.push(missing_arg(name)),
                Declared::Redefined => {
                    return Err(StepFault::Redefined { name: name.clone() });
                }
            }
        }
        Ok(())
    }

    /// The instructions that only change the configuration.
    fn plain(&mut self, op: &Op) -> Result<(), StepFault> {
        match op {
            Op::Cmd(command) => {
                self.config.cmd = self.command(command);
                self.cmd_set = true;
            }
            Op::Entrypoint(command) => {
                self.config.entrypoint = match command {
                    Command::Shell(text) if text.is_empty() => Vec::new(),
                    command => self.command(command),
                };
                if !self.cmd_set {
                    self.config.cmd.clear();
                }
            }
            Op::Expose(words) => self.expose(words)?,
            Op::Healthcheck(check) => {
                self.config.healthcheck = Some(lower_healthcheck(check));
                self.oci_drops("HEALTHCHECK is not supported for OCI image format and will be ignored. Must use `docker` format");
            }
            Op::Maintainer(author) => self.author = Some(author.clone()),
            Op::OnBuild(trigger) => {
                self.config.on_build.push(trigger.text.clone());
                let text = format!(
                    "ONBUILD is not supported for OCI image format, {} will be ignored. Must use `docker` format",
                    go_list(&self.config.on_build)
                );
                self.oci_drops(&text);
            }
            Op::Shell(words) => {
                self.config.shell.clone_from(words);
                self.shell_set = true;
                let text = format!(
                    "SHELL is not persisted in the OCI image format, {} will be used for RUN subsequent instructions to build this image but will not be present in saved image which may affect any images that use this as a base. Must use `docker` format to persist in saved image",
                    go_list(words)
                );
                self.oci_drops(&text);
            }
            Op::StopSignal(word) => {
                let signal = self.word(word)?;
                containerfile::signal_number(&signal)?;
                self.config.stop_signal = signal;
            }
            Op::User(word) => self.config.user = self.word(word)?,
            Op::Add(_)
            | Op::Arg(_)
            | Op::Copy(_)
            | Op::Env(_)
            | Op::Label(_)
            | Op::Run(_)
            | Op::Volume(_)
            | Op::Workdir(_) => {}
        }
        Ok(())
    }

    fn oci_drops(&mut self, text: &str) {
        if self.format == ManifestFormat::Oci {
            self.warnings.push(text.to_owned());
        }
    }

    fn expose(&mut self, words: &[Template]) -> Result<(), StepFault> {
        for word in words {
            let lookup = |name: &str| self.scope.value(name).map(str::to_owned);
            let ports = word
                .expand_words(&lookup)
                .map_err(|source| expand_fault(word, source))?;
            for port in ports {
                // The parser has told of words that it could read.
                if !word.variables().is_empty() && !containerfile::is_port(&port) {
                    self.warnings
                        .push(format!("EXPOSE `{port}` is not a port or a range of ports"));
                }
                let with_protocol = if port.contains('/') {
                    port
                } else {
                    format!("{port}/tcp")
                };
                self.config.exposed_ports.insert(with_protocol);
            }
        }
        Ok(())
    }

    fn command(&self, command: &Command) -> Vec<String> {
        match command {
            Command::Exec(words) => words.clone(),
            Command::Shell(text) => {
                let mut words = if self.shell_set {
                    self.config.shell.clone()
                } else {
                    DEFAULT_SHELL.map(str::to_owned).to_vec()
                };
                if !text.is_empty() {
                    words.push(text.clone());
                }
                words
            }
        }
    }

    fn workdir(&mut self, word: &Template) -> Result<BoundOp, StepFault> {
        let path = clean_join(&self.config.working_dir, &self.word(word)?);
        self.config.working_dir.clone_from(&path);
        Ok(BoundOp::Dirs(BoundDirs {
            paths: vec![path],
            owner: self.config.user.clone(),
        }))
    }

    fn volume(&mut self, words: &[Template]) -> Result<BoundOp, StepFault> {
        let volumes = self.words(words)?;
        if volumes.iter().any(String::is_empty) {
            return Err(StepFault::EmptyVolume);
        }
        self.config.volumes.extend(volumes.iter().cloned());
        Ok(BoundOp::Dirs(BoundDirs {
            paths: volumes.iter().map(|v| clean_join("/", v)).collect(),
            owner: String::new(),
        }))
    }

    fn workdir_now(&self) -> String {
        clean_join("/", &self.config.working_dir)
    }

    fn run(&self, run: &Run, names: &mut dyn Names) -> Result<BoundRun, NameError> {
        let Run {
            form,
            mounts,
            network,
            security,
            devices,
        } = run;
        if *security == RunSecurity::Insecure {
            let what = "RUN --security=insecure";
            return Err(StepFault::NotSupported { what }.into());
        }
        if !devices.is_empty() {
            let what = "RUN --device";
            return Err(StepFault::NotSupported { what }.into());
        }
        let network = match network {
            Some(word) => RunNetwork::parse(&self.word(word)?).map_err(StepFault::from)?,
            None => RunNetwork::Default,
        };
        let mounts = mounts
            .iter()
            .map(|mount| self.mount(mount, names))
            .collect::<Result<_, _>>()?;
        Ok(BoundRun {
            form: form.clone(),
            shell: if self.config.shell.is_empty() {
                DEFAULT_SHELL.map(str::to_owned).to_vec()
            } else {
                self.config.shell.clone()
            },
            env: self.scope.env().to_vec(),
            args: self.scope.args_in_scope(),
            proxies: self.scope.proxies(),
            workdir: self.workdir_now(),
            user: self.config.user.clone(),
            network,
            mounts,
            volumes: self
                .config
                .volumes
                .iter()
                .map(|v| clean_join("/", v))
                .collect(),
        })
    }

    fn mount(&self, written: &MountText, names: &mut dyn Names) -> Result<BoundMount, NameError> {
        let text = self.word(&written.text)?;
        let mount = RunMount::parse(&text).map_err(StepFault::from)?;
        if let Some(what) = unsupported(&mount) {
            return Err(StepFault::MountNotSupported { what }.into());
        }
        let from = match &mount {
            RunMount::Bind(bind) => Some(match &bind.from {
                Some(name) => names.source("--mount=type=bind,from", name)?,
                None => names.context(),
            }),
            RunMount::Cache(cache) => match &cache.from {
                Some(name) => Some(names.source("--mount=type=cache,from", name)?),
                None => None,
            },
            RunMount::Tmpfs(_) | RunMount::Secret(_) | RunMount::Ssh(_) => None,
        };
        Ok(BoundMount { text, mount, from })
    }

    fn copy(&self, copy: &Copy, names: &mut dyn Names) -> Result<BoundCopy, NameError> {
        let Copy {
            from,
            sources,
            destination,
            chown,
            chmod,
            link,
            parents,
            excludes,
        } = copy;
        let from = match from {
            Some(word) => {
                let name = self.word(word)?;
                if name.is_empty() {
                    return Err(StepFault::NoValue { flag: "from" }.into());
                }
                names.source("COPY --from", &name)?
            }
            None => names.context(),
        };
        let sources = self.sources(sources)?;
        if sources.iter().any(is_remote) {
            return Err(StepFault::CopyUrl.into());
        }
        Ok(BoundCopy {
            word: CopyWord::Copy,
            from,
            sources,
            destination: self.word(destination)?,
            workdir: self.workdir_now(),
            chown: self.flag(chown.as_ref(), "chown")?,
            chmod: self.chmod(chmod.as_ref())?,
            link: if *link { Link::Own } else { Link::Below },
            parents: if *parents {
                Parents::Kept
            } else {
                Parents::Dropped
            },
            excludes: self.words(excludes)?,
        })
    }

    fn add(&self, add: &Add, names: &mut dyn Names) -> Result<BoundCopy, NameError> {
        let Add {
            sources,
            destination,
            chown,
            chmod,
            link,
            excludes,
            checksum,
            keep_git_dir,
            unpack,
        } = add;
        let destination = self.word(destination)?;
        let checksum = self.flag(checksum.as_ref(), "checksum")?;
        let sources = self.sources(sources)?;
        let sources = remote_sources(sources, checksum.as_deref(), &destination)?;
        let is_url = |source: &CopySource| matches!(source, CopySource::Url { .. });
        let unpack = match unpack {
            // What comes from the web is unpacked only where that is said.
            None if sources.iter().any(is_url) => false,
            other => other.unwrap_or(true),
        };
        if *keep_git_dir {
            let what = "ADD --keep-git-dir";
            return Err(StepFault::NotSupported { what }.into());
        }
        Ok(BoundCopy {
            word: if unpack {
                CopyWord::Add
            } else {
                CopyWord::AddPacked
            },
            from: names.context(),
            sources,
            destination,
            workdir: self.workdir_now(),
            chown: self.flag(chown.as_ref(), "chown")?,
            chmod: self.chmod(chmod.as_ref())?,
            link: if *link { Link::Own } else { Link::Below },
            parents: Parents::Dropped,
            excludes: self.words(excludes)?,
        })
    }

    fn flag(
        &self,
        word: Option<&Template>,
        flag: &'static str,
    ) -> Result<Option<String>, StepFault> {
        let value = word.map(|word| self.word(word)).transpose()?;
        match value {
            Some(value) if value.is_empty() => Err(StepFault::NoValue { flag }),
            other => Ok(other),
        }
    }

    fn chmod(&self, word: Option<&Template>) -> Result<Option<String>, StepFault> {
        let text = self.flag(word, "chmod")?;
        if let Some(text) = &text {
            Chmod::parse(text)?;
        }
        Ok(text)
    }

    fn sources(&self, sources: &[WrittenSource]) -> Result<Vec<CopySource>, StepFault> {
        let expand = |source: &WrittenSource| match source {
            WrittenSource::Path(word) => Ok(CopySource::Path(self.word(word)?)),
            WrittenSource::Heredoc { name, body } => Ok(CopySource::Inline(InlineFile {
                name: name.clone(),
                body: self.word(body)?,
            })),
        };
        sources.iter().map(expand).collect()
    }

    fn run_history(&self, step: &Step) -> String {
        let args = self.scope.args_in_scope();
        let list: Vec<String> = args.iter().map(|(n, v)| format!("{n}={v}")).collect();
        let list = list.join(" ");
        let count = list.split(' ').count();
        let head = if args.is_empty() {
            String::new()
        } else {
            format!("|{count} {list} ")
        };
        let mut text = format!("{head}/bin/sh -c {}", after_keyword(step).trim_start());
        for heredoc in &step.heredocs {
            text.push('\n');
            text.push_str(heredoc.content().trim());
        }
        text
    }
}

/// The line about an argument that nothing gives a value.
pub(crate) fn missing_arg(name: &str) -> String {
    format!(
        "missing \"{name}\" build argument. Try adding \"--build-arg {name}=<VALUE>\" to the command line"
    )
}

/// Names the word that could not be expanded.
pub(crate) fn expand_fault(word: &Template, source: containerfile::ExpandError) -> StepFault {
    StepFault::Expand {
        text: word.text().to_owned(),
        source,
    }
}

fn nop(text: &str) -> String {
    format!("/bin/sh -c #(nop) {text}")
}

fn after_keyword(step: &Step) -> &str {
    let original = step.original.trim_start();
    let end = original.find(char::is_whitespace).unwrap_or(original.len());
    &original[end..]
}

fn keyword_and_rest(step: &Step) -> String {
    format!("{}{}", step.keyword().as_str(), after_keyword(step))
}

fn copy_history(copy: &BoundCopy) -> HistoryText {
    let word = match copy.word {
        CopyWord::Copy => Keyword::Copy.as_str(),
        CopyWord::Add | CopyWord::AddPacked => Keyword::Add.as_str(),
    };
    let link = match copy.link {
        Link::Own => "--link ",
        Link::Below => "",
    };
    HistoryText::Copied {
        before: nop(&format!("{word} {link}")),
        after: format!(" in {}{COPY_HISTORY_END}", copy.destination),
    }
}

/// Tells files of the web from paths. A copy has only one kind, since each is looked up in one tree.
fn remote_sources(
    sources: Vec<CopySource>,
    checksum: Option<&str>,
    destination: &str,
) -> Result<Vec<CopySource>, StepFault> {
    let remote = sources.iter().filter(|source| is_remote(source)).count();
    if remote == 0 {
        return match checksum {
            Some(_) => Err(StepFault::LocalChecksum),
            None => Ok(sources),
        };
    }
    if remote < sources.len() {
        let what = "ADD of URLs together with other sources";
        return Err(StepFault::NotSupported { what });
    }
    let checksum = checksum.map(model::Digest::parse).transpose();
    let checksum = checksum.map_err(StepFault::BadChecksum)?;
    let to_directory = sources.len() > 1 || destination.ends_with('/');
    let url = |source| match source {
        CopySource::Path(url) if is_git(&url) => {
            let what = "ADD of a git repository";
            Err(StepFault::NotSupported { what })
        }
        CopySource::Path(url) if to_directory && download::name(&url).is_none() => {
            Err(StepFault::NoFileName { url })
        }
        CopySource::Path(url) => Ok(CopySource::Url {
            url,
            checksum: checksum.clone(),
        }),
        other => Ok(other),
    };
    sources.into_iter().map(url).collect()
}

fn is_git(url: &str) -> bool {
    let path = url.split('#').next().unwrap_or(url);
    !(url.starts_with("http://") || url.starts_with("https://")) || path.ends_with(".git")
}

fn is_remote(source: &CopySource) -> bool {
    let CopySource::Path(path) = source else {
        return false;
    };
    ["http://", "https://", "git://", "git@", "ssh://"]
        .iter()
        .any(|scheme| path.starts_with(scheme))
}

fn lower_healthcheck(check: &Healthcheck) -> model::Healthcheck {
    let nanos = |duration: Option<containerfile::GoDuration>| duration.map_or(0, |d| d.0);
    model::Healthcheck {
        test: check.test.config_words(),
        interval: nanos(check.interval),
        timeout: nanos(check.timeout),
        start_period: nanos(check.start_period),
        start_interval: nanos(check.start_interval),
        retries: check.retries.map_or(0, i64::from),
        ..model::Healthcheck::default()
    }
}

/// Go's `%v` of a list of texts.
fn go_list(words: &[String]) -> String {
    format!("[{}]", words.join(" "))
}

/// Joins `path` to `base` and takes out `.`, `..` and double slashes; the result is absolute.
#[must_use]
pub fn clean_join(base: &str, path: &str) -> String {
    let joined = if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("{base}/{path}")
    };
    let mut parts: Vec<&str> = Vec::new();
    for part in joined.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_joined_and_cleaned() {
        for (base, path, expected) in [
            ("", "/a", "/a"),
            ("", "a", "/a"),
            ("/a", "b", "/a/b"),
            ("/a", "../b", "/b"),
            ("/a", "/a/../b//c/", "/b/c"),
            ("/a", "..", "/"),
            ("/", "../..", "/"),
            ("/a", ".", "/a"),
        ] {
            assert_eq!(clean_join(base, path), expected, "{base} {path}");
        }
    }
}
