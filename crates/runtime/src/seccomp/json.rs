//! Profiles in the JSON form of Docker and Podman.

use serde::Deserialize;

use super::{
    Action, Compare, Condition, MAX_CONDITIONS, MAX_PROFILE, MAX_RULES, Profile, Rule, SeccompError,
};
use crate::Capability;

const EPERM: u16 = 1;
const MAX_ARGUMENT: u32 = 5;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JsonProfile {
    default_action: String,
    default_errno_ret: Option<u16>,
    #[serde(default)]
    syscalls: Option<Vec<JsonRule>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JsonRule {
    name: Option<String>,
    #[serde(default)]
    names: Vec<String>,
    action: String,
    errno_ret: Option<u16>,
    args: Option<Vec<JsonArgument>>,
    includes: Option<JsonFilter>,
    excludes: Option<JsonFilter>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JsonArgument {
    index: u32,
    value: u64,
    #[serde(default)]
    value_two: u64,
    op: String,
}

#[derive(Deserialize, Default)]
struct JsonFilter {
    caps: Option<Vec<String>>,
    arches: Option<Vec<String>>,
}

pub(super) fn parse(text: &[u8]) -> Result<Profile, SeccompError> {
    if text.len() > MAX_PROFILE {
        return Err(SeccompError::TooLarge);
    }
    let profile: JsonProfile = serde_json::from_slice(text).map_err(SeccompError::Syntax)?;
    let rules = profile.syscalls.unwrap_or_default();
    if rules.len() > MAX_RULES {
        return Err(SeccompError::TooManyRules);
    }
    Ok(Profile {
        default: action(&profile.default_action, profile.default_errno_ret)?,
        rules: rules.into_iter().map(rule).collect::<Result<_, _>>()?,
    })
}

fn rule(rule: JsonRule) -> Result<Rule, SeccompError> {
    let arguments = rule.args.unwrap_or_default();
    if arguments.len() > MAX_CONDITIONS {
        return Err(SeccompError::TooManyRules);
    }
    let includes = rule.includes.unwrap_or_default();
    let excludes = rule.excludes.unwrap_or_default();
    Ok(Rule {
        names: rule.name.into_iter().chain(rule.names).collect(),
        action: action(&rule.action, rule.errno_ret)?,
        conditions: arguments.iter().map(condition).collect::<Result<_, _>>()?,
        only_architectures: includes.arches.unwrap_or_default(),
        not_architectures: excludes.arches.unwrap_or_default(),
        only_with: known(&includes.caps.unwrap_or_default())?,
        only_without: known(&excludes.caps.unwrap_or_default())?,
    })
}

/// Names that must be known: a rule must not lose a requirement silently.
fn known(names: &[String]) -> Result<Vec<Capability>, SeccompError> {
    names.iter().map(|name| Ok(name.parse()?)).collect()
}

fn condition(argument: &JsonArgument) -> Result<Condition, SeccompError> {
    if argument.index > MAX_ARGUMENT {
        return Err(SeccompError::Argument(argument.index));
    }
    let value = argument.value;
    let compare = match argument.op.as_str() {
        "SCMP_CMP_EQ" => Compare::Equal(value),
        "SCMP_CMP_NE" => Compare::NotEqual(value),
        "SCMP_CMP_LT" => Compare::Less(value),
        "SCMP_CMP_LE" => Compare::LessOrEqual(value),
        "SCMP_CMP_GT" => Compare::Greater(value),
        "SCMP_CMP_GE" => Compare::GreaterOrEqual(value),
        "SCMP_CMP_MASKED_EQ" => Compare::Masked {
            mask: value,
            value: argument.value_two,
        },
        other => return Err(SeccompError::Operator(other.to_owned())),
    };
    Ok(Condition {
        argument: argument.index as u8,
        compare,
    })
}

fn action(name: &str, errno: Option<u16>) -> Result<Action, SeccompError> {
    Ok(match name {
        "SCMP_ACT_ALLOW" => Action::Allow,
        "SCMP_ACT_ERRNO" => Action::Errno(errno.unwrap_or(EPERM)),
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => Action::KillThread,
        "SCMP_ACT_KILL_PROCESS" => Action::KillProcess,
        "SCMP_ACT_TRAP" => Action::Trap,
        "SCMP_ACT_LOG" => Action::Log,
        "SCMP_ACT_TRACE" => Action::Trace(errno.unwrap_or(EPERM)),
        other => return Err(SeccompError::Action(other.to_owned())),
    })
}
