//! What the processes of a container may use together, from flags into a container's record, and
//! from there into the control group of a process.

use std::path::PathBuf;

use anyhow::{Context as _, Result, anyhow};
use builder::run::{AddedGroups, Isolation, parse_size};
use builder::state::RunOptions;
use runtime::{ControlGroup, Refusal, Resources};

use crate::args::go_uint;
use crate::args::resources::ResourceArgs;

/// The word of `--group-add` for the groups of whoever runs this.
const KEEP: &str = "keep-groups";

/// Takes over what the flags ask for.
pub fn record(args: &ResourceArgs, into: &mut RunOptions) -> Result<()> {
    let ResourceArgs {
        cgroup_parent,
        cpu_period,
        cpu_quota,
        cpu_shares,
        cpuset_cpus,
        cpuset_mems,
        memory,
        memory_swap,
    } = args;
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    if let Some(text) = given(memory) {
        into.memory = size(&text).context("invalid value for memory")?;
    }
    into.memory_swap = match given(memory_swap) {
        None => 0,
        Some(text) if text == "-1" => -1,
        Some(text) => size(&text).context("invalid value for memory-swap")?,
    };
    into.cgroup_parent = cgroup_parent.clone().unwrap_or_default();
    into.cpu_period = cpu_period.unwrap_or_default();
    into.cpu_quota = cpu_quota.unwrap_or_default();
    into.cpu_shares = cpu_shares.unwrap_or_default();
    into.cpuset_cpus = cpuset_cpus.clone().unwrap_or_default();
    into.cpuset_mems = cpuset_mems.clone().unwrap_or_default();
    Ok(())
}

fn size(text: &str) -> Result<i64> {
    Ok(i64::try_from(parse_size(text)?)?)
}

/// The control group that a record asks for. As root of the machine limits hold or nothing runs;
/// elsewhere groups are seldom given to users, and Buildah's other isolations make none.
pub fn control_group(options: &RunOptions, isolation: Isolation) -> ControlGroup {
    let unsigned = |number: u64| Some(number).filter(|number| *number != 0);
    let signed = |number: i64| Some(number).filter(|number| *number != 0);
    let parent = Some(&options.cgroup_parent).filter(|path| !path.is_empty());
    ControlGroup {
        parent: parent.map(PathBuf::from),
        resources: Resources {
            memory: u64::try_from(options.memory).ok().and_then(unsigned),
            memory_swap: signed(options.memory_swap),
            cpu_period: unsigned(options.cpu_period),
            cpu_quota: signed(options.cpu_quota),
            cpu_shares: unsigned(options.cpu_shares),
            cpuset_cpus: options.cpuset_cpus.clone(),
            cpuset_mems: options.cpuset_mems.clone(),
        },
        refusal: match isolation {
            Isolation::Oci => Refusal::Fatal,
            Isolation::Chroot | Isolation::Rootless => Refusal::Told,
        },
    }
}

/// Reads the words of `--group-add`, as they are given or in a record.
pub fn added_groups(words: &[String]) -> Result<AddedGroups> {
    if words.iter().any(|word| word == KEEP) {
        if words.len() > 1 {
            return Err(anyhow!(
                "the '--group-add {KEEP}' option is not allowed with any other --group-add options"
            ));
        }
        return Ok(AddedGroups::Callers);
    }
    let number = |word: &String| go_uint(word).map_err(anyhow::Error::msg);
    Ok(AddedGroups::Ids(
        words.iter().map(number).collect::<Result<_>>()?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_recorded_and_become_a_control_group() {
        let text = |text: &str| Some(text.to_owned());
        let args = ResourceArgs {
            cgroup_parent: text("/a"),
            cpu_period: Some(1000),
            cpu_quota: Some(-1),
            cpu_shares: Some(2),
            cpuset_cpus: text("0-1"),
            cpuset_mems: text("0"),
            memory: text("1.5g"),
            memory_swap: text("-1"),
        };
        let mut options = RunOptions::defaults();
        record(&args, &mut options).expect("records");
        assert_eq!((options.memory, options.memory_swap), (3 << 29, -1));
        let group = control_group(&options, Isolation::Oci);
        assert_eq!(group.parent, Some(PathBuf::from("/a")));
        assert_eq!(group.resources.memory, Some(3 << 29));
        assert_eq!(group.resources.cpu_quota, Some(-1));
        assert_eq!(group.refusal, Refusal::Fatal);
        assert!(control_group(&RunOptions::defaults(), Isolation::Rootless).is_empty());
    }

    #[test]
    fn sizes_that_are_none_are_refused() {
        let check = |memory: &str, swap: &str, expected: &str| {
            let args = ResourceArgs {
                memory: Some(memory.to_owned()),
                memory_swap: Some(swap.to_owned()),
                ..ResourceArgs::default()
            };
            let found = record(&args, &mut RunOptions::defaults());
            let found = found.err().map(|error| format!("{error:#}"));
            assert_eq!(found.unwrap_or_default(), expected, "{memory} {swap}");
        };
        check("", "", "");
        check("0", "0", "");
        check("x", "", "invalid value for memory: invalid size: 'x'");
        check("-1", "", "invalid value for memory: invalid size: '-1'");
        check(
            "1m",
            "y",
            "invalid value for memory-swap: invalid size: 'y'",
        );
    }

    #[test]
    fn groups_are_numbers_or_kept() {
        let check = |words: &[&str], expected: Result<AddedGroups, &str>| {
            let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
            let found = added_groups(&words).map_err(|error| error.to_string());
            assert_eq!(found, expected.map_err(str::to_owned), "{words:?}");
        };
        check(&[], Ok(AddedGroups::default()));
        check(&["5", "77"], Ok(AddedGroups::Ids(vec![5, 77])));
        check(&["keep-groups"], Ok(AddedGroups::Callers));
        check(
            &["keep-groups", "5"],
            Err(
                "the '--group-add keep-groups' option is not allowed with any other --group-add options",
            ),
        );
        check(
            &["root"],
            Err("strconv.ParseUint: parsing \"root\": invalid syntax"),
        );
        check(
            &["99999999999"],
            Err("strconv.ParseUint: parsing \"99999999999\": value out of range"),
        );
    }
}
