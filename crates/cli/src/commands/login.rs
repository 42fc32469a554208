//! `login`: credentials for a registry are checked there and kept.

use std::io::Read as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result, anyhow, bail};
use config::{AuthFlag, Found};
use model::Secret;

use crate::args::{GlobalArgs, go_bool};
use crate::failure::Failure;
use crate::host::account::{Account, Gate, Refused, user_and_password};
use crate::host::{self, prompt, registries};
use crate::ui::Ui;
use crate::world::World;

/// Longest password read from standard input, in bytes.
const MAX_STDIN: u64 = 64 * 1024;

/// Arguments of `login`.
#[derive(Debug, clap::Args)]
pub struct LoginArgs {
    /// Keep the credentials in this file
    #[arg(long, value_name = "FILE")]
    authfile: Option<PathBuf>,
    /// Use the certificates in this folder
    #[arg(long, value_name = "DIR")]
    cert_dir: Option<PathBuf>,
    /// Keep the credentials in this file, as Docker does
    #[arg(long, value_name = "FILE")]
    compat_auth_file: Option<PathBuf>,
    /// Print who is logged in
    #[arg(long)]
    get_login: bool,
    /// The password
    #[arg(long, short = 'p', value_name = "PASSWORD", value_parser = secret)]
    password: Option<Secret>,
    /// Read the password from standard input
    #[arg(long)]
    password_stdin: bool,
    /// Require HTTPS and check certificates (default: true, unless registries.conf calls the registry insecure)
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", value_parser = go_bool)]
    tls_verify: Option<bool>,
    /// The user
    #[arg(long, short = 'u', value_name = "USER")]
    username: Option<String>,
    /// Say where the credentials are kept
    #[arg(long, short = 'v')]
    verbose: bool,
    /// The registry, or a namespace or repository in it
    registry: Vec<String>,
}

fn secret(text: &str) -> Result<Secret, std::convert::Infallible> {
    Ok(Secret::new(text))
}

/// Asks for what the flags lack, checks it with the registry, and keeps it. Opens no store.
pub fn run(args: &LoginArgs, global: &GlobalArgs, world: &World, ui: &Ui) -> Result<(), Failure> {
    let account = match args.registry.as_slice() {
        [registry] => Account::parse(registry)?,
        [] => return Err(anyhow!("please specify a registry to login to").into()),
        _ => return Err(anyhow!("too many arguments, login takes only 1 argument").into()),
    };
    let flag = auth_flag(args.authfile.as_ref(), args.compat_auth_file.as_ref())?;
    let files = registries::auth_files(&flag, global, world, ui)?;
    let lookup = files.lookup_key(&account.key).context("get credentials")?;
    for warning in &lookup.warnings {
        ui.warn(warning);
    }
    let known = lookup.found.as_ref();
    if args.get_login {
        return Ok(print_login(&account, known, ui)?);
    }
    if known.is_some_and(|found| found.identity_token.is_some()) {
        return Err(anyhow!("currently logged in, auth file contains an Identity token").into());
    }
    let gate = Gate {
        cert_dir: args.cert_dir.as_ref(),
        verify: registries::verify(args.tls_verify),
        global,
        world,
        ui,
    };
    let given = given_password(args)?;
    if args.username.is_none()
        && given.is_none()
        && let Some((user, password)) = user_and_password(known)
    {
        ui.line(format_args!(
            "Authenticating with existing credentials for {}",
            account.key
        ));
        if gate.check(&account, user, password).is_ok() {
            ui.line(format_args!(
                "Existing credentials are valid. Already logged in to {}",
                account.host
            ));
            return Ok(());
        }
        ui.line("Existing credentials are invalid, please enter valid username and password");
    }
    let (user, password) =
        complete(args, given, known, ui).context("getting username and password")?;
    match gate.check(&account, &user, &password) {
        Ok(()) => {}
        Err(Refused::Credentials) => {
            let key = &account.key;
            return Err(anyhow!("logging into {key:?}: invalid username/password").into());
        }
        Err(Refused::Failed(mut failure)) => {
            let attempt = format!("authenticating creds for {:?}", account.key);
            failure.error = failure.error.map(|error| error.context(attempt));
            return Err(failure);
        }
    }
    host::settings::session_dir(world)?;
    let stored = files.store(&account.key, &user, &password)?;
    if args.verbose {
        ui.line(format_args!("Used:  {stored}"));
    }
    ui.line("Login Succeeded!");
    Ok(())
}

/// Which file the flags name.
pub fn auth_flag(file: Option<&PathBuf>, docker_file: Option<&PathBuf>) -> Result<AuthFlag> {
    match (file, docker_file) {
        (Some(_), Some(_)) => bail!(
            "options for paths to the credential file and to the Docker-compatible credential file can not be set simultaneously"
        ),
        (Some(path), None) => Ok(AuthFlag::File(path.clone())),
        (None, Some(path)) => Ok(AuthFlag::DockerFile(path.clone())),
        (None, None) => Ok(AuthFlag::Unset),
    }
}

fn print_login(account: &Account, known: Option<&Found>, ui: &Ui) -> Result<()> {
    match known {
        Some(found) if !found.user.is_empty() => {
            ui.line(&found.user);
            Ok(())
        }
        _ => bail!("not logged into {}", account.key),
    }
}

/// The password of a flag or of standard input.
fn given_password(args: &LoginArgs) -> Result<Option<Secret>> {
    let flag = args.password.clone().filter(|flag| !flag.is_empty());
    if !args.password_stdin {
        return Ok(flag);
    }
    if flag.is_some() {
        bail!("Can't specify both --password-stdin and --password");
    }
    if args.username.as_deref().unwrap_or_default().is_empty() {
        bail!("Must provide --username with --password-stdin");
    }
    let mut bytes = Vec::new();
    let stdin = std::io::stdin().lock();
    stdin
        .take(MAX_STDIN + 1)
        .read_to_end(&mut bytes)
        .context("reading the password from standard input")?;
    if bytes.len() as u64 > MAX_STDIN {
        bail!("the password on standard input is longer than {MAX_STDIN} bytes");
    }
    let text = String::from_utf8(bytes)
        .map_err(|_| anyhow!("the password on standard input is not UTF-8"))?;
    Ok(Some(Secret::new(text.lines().collect::<String>())))
}

/// Asks for the user and the password that the flags lack.
fn complete(
    args: &LoginArgs,
    given: Option<Secret>,
    known: Option<&Found>,
    ui: &Ui,
) -> Result<(String, Secret)> {
    let user = match args.username.as_deref().map(str::trim) {
        Some(user) if !user.is_empty() => user.to_owned(),
        _ => {
            let old = known.map_or("", |found| &found.user);
            match old {
                "" => ui.out("Username: "),
                old => ui.out(format_args!("Username ({old}): ")),
            }
            let typed = prompt::line().context("reading username")?;
            if typed.is_empty() {
                old.to_owned()
            } else {
                typed
            }
        }
    };
    let password = match given.filter(|given| !given.is_empty()) {
        Some(password) => password,
        None => {
            let ask = || ui.out("Password: ");
            let password = prompt::password(ask).context("reading password")?;
            ui.line("");
            password
        }
    };
    Ok((user, password))
}
