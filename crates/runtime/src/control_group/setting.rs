//! What is written into the files of a control group: the one place that knows both versions' words.

use super::{ControlGroupError, Resources};

/// The period of the scheduler that a quota is for, in microseconds, unless asked otherwise.
const DEFAULT_PERIOD: u64 = 100_000;
/// Largest weight of the first version, and smallest.
const SHARES: std::ops::RangeInclusive<u64> = 2..=262_144;
/// What the files of the second version call no limit.
const UNLIMITED: &str = "max";

/// One file of a control group and what is written into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Setting {
    /// Controller that the file belongs to.
    pub(super) controller: &'static str,
    /// Name of the file.
    pub(super) file: &'static str,
    /// Its new content.
    pub(super) value: String,
}

fn setting(controller: &'static str, file: &'static str, value: &dyn ToString) -> Setting {
    Setting {
        controller,
        file,
        value: value.to_string(),
    }
}

/// The settings of `asked` in the first version, in the order that the kernel accepts: the limit of
/// memory and swap is never below that of memory.
pub(super) fn first_version(asked: &Resources) -> Vec<Setting> {
    let mut settings = cpuset(asked);
    settings.extend(
        [
            (asked.memory.is_some() || asked.memory_swap.is_some()).then(|| {
                let limit = asked.memory.map_or(-1, i128::from);
                setting("memory", "memory.limit_in_bytes", &limit)
            }),
            asked
                .memory_swap
                .map(|limit| setting("memory", "memory.memsw.limit_in_bytes", &limit)),
            asked
                .cpu_shares
                .map(|shares| setting("cpu", "cpu.shares", &shares)),
            asked
                .cpu_period
                .map(|period| setting("cpu", "cpu.cfs_period_us", &period)),
            asked
                .cpu_quota
                .map(|quota| setting("cpu", "cpu.cfs_quota_us", &quota)),
        ]
        .into_iter()
        .flatten(),
    );
    settings
}

/// The settings of `asked` in the second version.
///
/// # Errors
/// When swap is limited to less than memory, or without memory: swap has a limit of its own there.
pub(super) fn second_version(asked: &Resources) -> Result<Vec<Setting>, ControlGroupError> {
    let mut settings = cpuset(asked);
    if let Some(limit) = asked.memory {
        settings.push(setting("memory", "memory.max", &limit));
    }
    if let Some(swap) = swap_alone(asked)? {
        settings.push(setting("memory", "memory.swap.max", &swap));
    }
    if let Some(shares) = asked.cpu_shares {
        settings.push(setting("cpu", "cpu.weight", &weight(shares)));
    }
    if asked.cpu_quota.is_some() || asked.cpu_period.is_some() {
        let period = asked.cpu_period.unwrap_or(DEFAULT_PERIOD);
        let value = match asked.cpu_quota {
            Some(quota) if quota > 0 => format!("{quota} {period}"),
            _ => format!("{UNLIMITED} {period}"),
        };
        settings.push(setting("cpu", "cpu.max", &value));
    }
    Ok(settings)
}

fn cpuset(asked: &Resources) -> Vec<Setting> {
    let files = [
        ("cpuset.cpus", &asked.cpuset_cpus),
        ("cpuset.mems", &asked.cpuset_mems),
    ];
    let set = files.into_iter().filter(|(_, list)| !list.is_empty());
    set.map(|(file, list)| setting("cpuset", file, list))
        .collect()
}

/// The first version limits the sum of memory and swap, the second swap alone.
fn swap_alone(asked: &Resources) -> Result<Option<String>, ControlGroupError> {
    let Some(sum) = asked.memory_swap else {
        return Ok(None);
    };
    let Ok(sum) = u64::try_from(sum) else {
        return Ok(Some(UNLIMITED.to_owned()));
    };
    let memory = asked.memory.ok_or(ControlGroupError::SwapAlone)?;
    let swap = sum
        .checked_sub(memory)
        .ok_or(ControlGroupError::SwapBelowMemory { memory, sum })?;
    Ok(Some(swap.to_string()))
}

/// A weight of the first version (2 to 262144, 1024 by default) on the scale of the second (1 to
/// 10000), as the runtimes for containers map it.
fn weight(shares: u64) -> u64 {
    let shares = shares.clamp(*SHARES.start(), *SHARES.end());
    1 + (shares - SHARES.start()) * 9999 / (SHARES.end() - SHARES.start())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(settings: &[Setting]) -> String {
        let lines: Vec<String> = settings
            .iter()
            .map(|Setting { file, value, .. }| format!("{file}={value}"))
            .collect();
        lines.join(" ")
    }

    #[test]
    fn resources_become_settings() {
        let none = Resources::default();
        let check = |asked: Resources, first: &str, second: &str| {
            assert_eq!(shown(&first_version(&asked)), first, "{asked:?}");
            let found = match second_version(&asked) {
                Ok(settings) => shown(&settings),
                Err(error) => error.to_string(),
            };
            assert_eq!(found, second, "{asked:?}");
        };
        check(none.clone(), "", "");
        let memory = Resources {
            memory: Some(64 << 20),
            ..none.clone()
        };
        check(
            memory.clone(),
            "memory.limit_in_bytes=67108864",
            "memory.max=67108864",
        );
        let with_swap = |memory_swap| Resources {
            memory_swap: Some(memory_swap),
            ..memory.clone()
        };
        check(
            with_swap(100 << 20),
            "memory.limit_in_bytes=67108864 memory.memsw.limit_in_bytes=104857600",
            "memory.max=67108864 memory.swap.max=37748736",
        );
        check(
            with_swap(-1),
            "memory.limit_in_bytes=67108864 memory.memsw.limit_in_bytes=-1",
            "memory.max=67108864 memory.swap.max=max",
        );
        check(
            with_swap(1),
            "memory.limit_in_bytes=67108864 memory.memsw.limit_in_bytes=1",
            "the limit of memory and swap, 1 bytes, is below that of memory, 67108864 bytes",
        );
        check(
            Resources {
                memory_swap: Some(5),
                ..none.clone()
            },
            "memory.limit_in_bytes=-1 memory.memsw.limit_in_bytes=5",
            "swap cannot be limited without a limit of memory",
        );
        let time = |cpu_quota, cpu_period| Resources {
            cpu_quota,
            cpu_period,
            ..none.clone()
        };
        check(
            time(Some(50_000), None),
            "cpu.cfs_quota_us=50000",
            "cpu.max=50000 100000",
        );
        check(
            time(Some(-1), Some(20_000)),
            "cpu.cfs_period_us=20000 cpu.cfs_quota_us=-1",
            "cpu.max=max 20000",
        );
        check(
            time(None, Some(20_000)),
            "cpu.cfs_period_us=20000",
            "cpu.max=max 20000",
        );
        check(
            Resources {
                cpu_shares: Some(1024),
                cpuset_cpus: "0-1".to_owned(),
                cpuset_mems: "0".to_owned(),
                ..none
            },
            "cpuset.cpus=0-1 cpuset.mems=0 cpu.shares=1024",
            "cpuset.cpus=0-1 cpuset.mems=0 cpu.weight=39",
        );
    }

    #[test]
    fn weights_stay_on_their_scale() {
        for (shares, expected) in [
            (0, 1),
            (2, 1),
            (1024, 39),
            (262_144, 10_000),
            (u64::MAX, 10_000),
        ] {
            assert_eq!(weight(shares), expected, "{shares}");
        }
    }
}
