//! From rules to a BPF program: a binary search over system call numbers, per architecture.
//!
//! ```text
//! load arch ─ == native ─ load nr ─ search tree ─ return verdict │ compare arguments
//!           ├ == compat ─ load nr ─ search tree ─ …
//!           └ otherwise ─ kill
//! ```

use std::collections::BTreeMap;

use sys::launch::Instruction;

use super::{Action, Compare, Condition, Profile, Rule, SeccompError};
use crate::CapabilitySet;

/// Longest program that the kernel takes (`BPF_MAXINSNS`).
const MAX_INSTRUCTIONS: usize = 4096;

// Offsets in `struct seccomp_data`.
const DATA_NUMBER: u32 = 0;
const DATA_ARCH: u32 = 4;
const DATA_ARGUMENTS: u32 = 16;

const LOAD: u16 = 0x20;
const AND: u16 = 0x54;
const JUMP: u16 = 0x05;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_GREATER: u16 = 0x25;
const JUMP_AT_LEAST: u16 = 0x35;
const RETURN: u16 = 0x06;

const RET_KILL_PROCESS: u32 = 0x8000_0000;
const RET_KILL_THREAD: u32 = 0;
const RET_TRAP: u32 = 0x0003_0000;
const RET_ERRNO: u32 = 0x0005_0000;
const RET_TRACE: u32 = 0x7ff0_0000;
const RET_LOG: u32 = 0x7ffc_0000;
const RET_ALLOW: u32 = 0x7fff_0000;
const ENOSYS: u32 = 38;

/// One calling convention of the machine.
struct Abi {
    /// `AUDIT_ARCH_*`.
    audit: u32,
    /// Number of a system call by its name.
    number: fn(&str) -> Option<u32>,
    /// First number that belongs to no table: x32 on x86-64.
    end: u32,
    /// Bits of an argument.
    wide: Width,
}

#[derive(Clone, Copy, PartialEq)]
enum Width {
    Bits32,
    Bits64,
}

#[cfg(target_arch = "x86_64")]
mod machine {
    use super::{Abi, Width};

    /// Go's name, as rules use it.
    pub(super) const NAME: &str = "amd64";
    pub(super) const ABIS: &[Abi] = &[
        Abi {
            audit: 0xc000_003e,
            number: |name| find(name.parse::<syscalls::x86_64::Sysno>().map(|n| n.id())),
            end: 0x4000_0000,
            wide: Width::Bits64,
        },
        Abi {
            audit: 0x4000_0003,
            number: |name| find(name.parse::<syscalls::x86::Sysno>().map(|n| n.id())),
            end: u32::MAX,
            wide: Width::Bits32,
        },
    ];

    fn find<E>(id: Result<i32, E>) -> Option<u32> {
        id.ok().and_then(|id| u32::try_from(id).ok())
    }
}

#[cfg(target_arch = "aarch64")]
mod machine {
    use super::{Abi, Width};

    /// Go's name, as rules use it.
    pub(super) const NAME: &str = "arm64";
    pub(super) const ABIS: &[Abi] = &[
        Abi {
            audit: 0xc000_00b7,
            number: |name| find(name.parse::<syscalls::aarch64::Sysno>().map(|n| n.id())),
            end: u32::MAX,
            wide: Width::Bits64,
        },
        Abi {
            audit: 0x4000_0028,
            number: |name| find(name.parse::<syscalls::arm::Sysno>().map(|n| n.id())),
            end: u32::MAX,
            wide: Width::Bits32,
        },
    ];

    fn find<E>(id: Result<i32, E>) -> Option<u32> {
        id.ok().and_then(|id| u32::try_from(id).ok())
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
mod machine {
    pub(super) const NAME: &str = "";
    pub(super) const ABIS: &[super::Abi] = &[];
}

pub(super) fn compile(
    profile: &Profile,
    granted: CapabilitySet,
) -> Result<Vec<Instruction>, SeccompError> {
    if machine::ABIS.is_empty() {
        return Err(SeccompError::Architecture);
    }
    let mut program = vec![statement(LOAD, DATA_ARCH)];
    for abi in machine::ABIS {
        let body = abi_program(profile, granted, abi);
        program.push(jump(JUMP_EQUAL, abi.audit, 1, 0));
        program.push(statement(JUMP, length(&body)));
        program.extend(body);
    }
    program.push(statement(RETURN, RET_KILL_PROCESS));
    if program.len() > MAX_INSTRUCTIONS {
        return Err(SeccompError::TooLong(program.len()));
    }
    Ok(program)
}

/// Rules of one system call, in the order of the profile.
type Rules<'a> = Vec<(&'a [Condition], Action)>;

fn abi_program(profile: &Profile, granted: CapabilitySet, abi: &Abi) -> Vec<Instruction> {
    let mut by_number: BTreeMap<u32, Rules<'_>> = BTreeMap::new();
    for rule in profile
        .rules
        .iter()
        .filter(|rule| rule.applies(machine::NAME, granted))
    {
        let Rule {
            names,
            action,
            conditions,
            ..
        } = rule;
        for number in names.iter().filter_map(|name| (abi.number)(name)) {
            by_number
                .entry(number)
                .or_default()
                .push((conditions, *action));
        }
    }
    let default = statement(RETURN, encode(profile.default));
    let mut ranges: Vec<(u32, Vec<Instruction>)> = vec![(0, vec![default])];
    for (number, rules) in by_number {
        let code = verdict(&rules, profile.default, abi.wide);
        push_range(&mut ranges, number, code);
        push_range(&mut ranges, number + 1, vec![default]);
    }
    if abi.end != u32::MAX {
        push_range(
            &mut ranges,
            abi.end,
            vec![statement(RETURN, RET_ERRNO | ENOSYS)],
        );
    }
    let mut program = vec![statement(LOAD, DATA_NUMBER)];
    program.extend(search(&ranges));
    program
}

/// Appends a range that starts at `start`, replacing an empty one and joining an equal one.
fn push_range(ranges: &mut Vec<(u32, Vec<Instruction>)>, start: u32, code: Vec<Instruction>) {
    if ranges.last().is_some_and(|(last, _)| *last == start) {
        ranges.pop();
    }
    if ranges.last().is_none_or(|(_, last)| *last != code) {
        ranges.push((start, code));
    }
}

/// A binary search tree over the ranges' starts.
fn search(ranges: &[(u32, Vec<Instruction>)]) -> Vec<Instruction> {
    match ranges {
        [] => Vec::new(),
        [(_, code)] => code.clone(),
        _ => {
            let (low, high) = ranges.split_at(ranges.len() / 2);
            let below = search(low);
            let mut program = match u8::try_from(below.len()) {
                Ok(skip) => vec![jump(JUMP_AT_LEAST, high[0].0, skip, 0)],
                Err(_) => {
                    vec![
                        jump(JUMP_AT_LEAST, high[0].0, 0, 1),
                        statement(JUMP, length(&below)),
                    ]
                }
            };
            program.extend(below);
            program.extend(search(high));
            program
        }
    }
}

/// The code that decides one system call. A rule without conditions weighs more than any with.
fn verdict(rules: &Rules<'_>, default: Action, width: Width) -> Vec<Instruction> {
    if let Some((_, action)) = rules.iter().find(|(conditions, _)| conditions.is_empty()) {
        return vec![statement(RETURN, encode(*action))];
    }
    let mut program = Vec::new();
    for (conditions, action) in rules {
        // Built backwards: `next` is how many instructions follow until the next rule.
        let mut code = vec![statement(RETURN, encode(*action))];
        for condition in conditions.iter().rev() {
            let mut test = compare(condition, width, length(&code));
            test.append(&mut code);
            code = test;
        }
        program.extend(code);
    }
    program.push(statement(RETURN, encode(default)));
    program
}

/// Code that falls through when the condition holds and otherwise skips the `rest` instructions
/// behind it. At most six conditions of nine instructions keep every jump in eight bits.
fn compare(condition: &Condition, width: Width, rest: u32) -> Vec<Instruction> {
    let offset = DATA_ARGUMENTS + 8 * u32::from(condition.argument);
    let low = statement(LOAD, offset);
    let high = statement(LOAD, offset + 4);
    let rest = u8::try_from(rest).expect("six conditions are short");
    let halves = |value: u64| ((value >> 32) as u32, value as u32);
    if width == Width::Bits32 {
        let (_, value) = halves(value_of(condition.compare));
        return match condition.compare {
            Compare::Equal(_) => vec![low, jump(JUMP_EQUAL, value, 0, rest)],
            Compare::NotEqual(_) => vec![low, jump(JUMP_EQUAL, value, rest, 0)],
            Compare::Less(_) => vec![low, jump(JUMP_AT_LEAST, value, rest, 0)],
            Compare::LessOrEqual(_) => vec![low, jump(JUMP_GREATER, value, rest, 0)],
            Compare::Greater(_) => vec![low, jump(JUMP_GREATER, value, 0, rest)],
            Compare::GreaterOrEqual(_) => vec![low, jump(JUMP_AT_LEAST, value, 0, rest)],
            Compare::Masked { mask, .. } => {
                vec![
                    low,
                    statement(AND, halves(mask).1),
                    jump(JUMP_EQUAL, value, 0, rest),
                ]
            }
        };
    }
    let (top, bottom) = halves(value_of(condition.compare));
    match condition.compare {
        Compare::Equal(_) => vec![
            high,
            jump(JUMP_EQUAL, top, 0, rest + 2),
            low,
            jump(JUMP_EQUAL, bottom, 0, rest),
        ],
        Compare::NotEqual(_) => {
            vec![
                high,
                jump(JUMP_EQUAL, top, 0, 2),
                low,
                jump(JUMP_EQUAL, bottom, rest, 0),
            ]
        }
        // High word decides unless it is equal.
        Compare::Less(_) => ordered(high, low, top, (JUMP_AT_LEAST, bottom), (0, 1), rest),
        Compare::LessOrEqual(_) => ordered(high, low, top, (JUMP_GREATER, bottom), (0, 1), rest),
        Compare::Greater(_) => ordered(high, low, top, (JUMP_GREATER, bottom), (1, 0), rest),
        Compare::GreaterOrEqual(_) => {
            ordered(high, low, top, (JUMP_AT_LEAST, bottom), (1, 0), rest)
        }
        Compare::Masked { mask, .. } => {
            let (mask_top, mask_bottom) = halves(mask);
            vec![
                high,
                statement(AND, mask_top),
                jump(JUMP_EQUAL, top, 0, rest + 3),
                low,
                statement(AND, mask_bottom),
                jump(JUMP_EQUAL, bottom, 0, rest),
            ]
        }
    }
}

/// A 64-bit order. `wanted` is (1, 0) when a larger argument satisfies it and (0, 1) when a
/// smaller one does; `last` compares the low words and, when true, means "larger".
fn ordered(
    high: Instruction,
    low: Instruction,
    top: u32,
    last: (u16, u32),
    wanted: (u8, u8),
    rest: u8,
) -> Vec<Instruction> {
    let larger_is_wanted = wanted.0 == 1;
    // Positions: 0 high, 1 greater?, 2 equal?, 3 low, 4 last, 5… the code behind.
    let hold = |from: u8| 4 - from;
    let fail = |from: u8| 4 - from + rest;
    let (if_larger, if_smaller) = if larger_is_wanted {
        (hold(1), fail(2))
    } else {
        (fail(1), hold(2))
    };
    let (yes, no) = if larger_is_wanted {
        (0, rest)
    } else {
        (rest, 0)
    };
    vec![
        high,
        jump(JUMP_GREATER, top, if_larger, 0),
        jump(JUMP_EQUAL, top, 0, if_smaller),
        low,
        jump(last.0, last.1, yes, no),
    ]
}

fn value_of(compare: Compare) -> u64 {
    match compare {
        Compare::Equal(value)
        | Compare::NotEqual(value)
        | Compare::Less(value)
        | Compare::LessOrEqual(value)
        | Compare::Greater(value)
        | Compare::GreaterOrEqual(value)
        | Compare::Masked { value, .. } => value,
    }
}

fn encode(action: Action) -> u32 {
    match action {
        Action::Allow => RET_ALLOW,
        Action::Errno(errno) => RET_ERRNO | u32::from(errno),
        Action::KillProcess => RET_KILL_PROCESS,
        Action::KillThread => RET_KILL_THREAD,
        Action::Trap => RET_TRAP,
        Action::Log => RET_LOG,
        Action::Trace(value) => RET_TRACE | u32::from(value),
    }
}

fn statement(code: u16, k: u32) -> Instruction {
    Instruction {
        code,
        jt: 0,
        jf: 0,
        k,
    }
}

fn jump(code: u16, k: u32, jt: u8, jf: u8) -> Instruction {
    Instruction { code, jt, jf, k }
}

fn length(program: &[Instruction]) -> u32 {
    u32::try_from(program.len()).expect("programs have a few thousand instructions")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Capability;
    use std::time::Instant;

    /// Runs a program as the kernel does.
    fn execute(program: &[Instruction], arch: u32, number: u32, args: [u64; 6]) -> u32 {
        let mut data = Vec::new();
        data.extend(number.to_ne_bytes());
        data.extend(arch.to_ne_bytes());
        data.extend(0_u64.to_ne_bytes());
        data.extend(args.iter().flat_map(|arg| arg.to_ne_bytes()));
        let (mut at, mut acc) = (0, 0_u32);
        loop {
            let Instruction { code, jt, jf, k } = program[at];
            at += 1;
            let branch = |yes: bool| usize::from(if yes { jt } else { jf });
            match code {
                LOAD => {
                    let k = k as usize;
                    acc = u32::from_ne_bytes(data[k..k + 4].try_into().unwrap());
                }
                AND => acc &= k,
                JUMP => at += k as usize,
                JUMP_EQUAL => at += branch(acc == k),
                JUMP_GREATER => at += branch(acc > k),
                JUMP_AT_LEAST => at += branch(acc >= k),
                RETURN => return k,
                other => panic!("unknown instruction {other:#x}"),
            }
        }
    }

    /// What the profile says, straight from its rules.
    fn expected(profile: &Profile, granted: CapabilitySet, name: &str, args: [u64; 6]) -> Action {
        let rules = profile.rules.iter().filter(|rule| {
            rule.applies(machine::NAME, granted) && rule.names.iter().any(|known| known == name)
        });
        let rules: Vec<_> = rules.collect();
        let free = rules.iter().find(|rule| rule.conditions.is_empty());
        let decided = free.or_else(|| {
            rules.iter().find(|rule| {
                let holds = |c: &Condition| c.compare.holds(args[usize::from(c.argument)]);
                rule.conditions.iter().all(holds)
            })
        });
        decided.map_or(profile.default, |rule| rule.action)
    }

    fn capability_sets() -> Vec<CapabilitySet> {
        let mut sets = vec![
            CapabilitySet::EMPTY,
            CapabilitySet::DEFAULT,
            CapabilitySet::all(),
        ];
        sets.extend(Capability::ALL.iter().map(|one| CapabilitySet::of(&[*one])));
        sets
    }

    const BOUNDARIES: [u64; 16] = [
        0,
        1,
        7,
        8,
        9,
        15,
        16,
        17,
        0x20000,
        0x20008,
        0x20009,
        0xffff_ffff,
        0x1_0000_0000,
        0x1_0000_0009,
        0x10_0000_0010,
        u64::MAX,
    ];

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn every_verdict_is_that_of_the_json() {
        let text = std::fs::read("/usr/share/containers/seccomp.json")
            .expect("needs the profile of Debian's golang-github-containers-common");
        let reference = Profile::parse(&text).unwrap();
        for granted in capability_sets() {
            let program = compile(Profile::standard(), granted).unwrap();
            let native = (0..1024_u32).map(|number| {
                let name = syscalls::x86_64::Sysno::new(number as usize);
                (
                    machine::ABIS[0].audit,
                    number,
                    name.map(|n| n.name()),
                    u64::MAX,
                )
            });
            let compat = (0..1024_u32).map(|number| {
                let name = syscalls::x86::Sysno::new(number as usize);
                (
                    machine::ABIS[1].audit,
                    number,
                    name.map(|n| n.name()),
                    u64::from(u32::MAX),
                )
            });
            for (arch, number, name, mask) in native.chain(compat) {
                let check = |args: [u64; 6]| {
                    let want = encode(expected(&reference, granted, name.unwrap_or(""), args));
                    let got = execute(&program, arch, number, args);
                    assert_eq!(got, want, "{name:?} {number} {args:x?} {granted:?}");
                };
                if !matches!(name, Some("socket" | "personality")) {
                    check([0; 6]);
                    continue;
                }
                for first in BOUNDARIES {
                    for third in BOUNDARIES {
                        check([first & mask, 0, third & mask, 0, 0, 0]);
                    }
                }
            }
        }
    }

    #[test]
    fn other_calling_conventions() {
        let program = compile(Profile::standard(), CapabilitySet::DEFAULT).unwrap();
        assert_eq!(execute(&program, 0x1234, 0, [0; 6]), RET_KILL_PROCESS);
        let native = machine::ABIS[0].audit;
        if machine::ABIS[0].end != u32::MAX {
            assert_eq!(
                execute(&program, native, 0x4000_0000, [0; 6]),
                RET_ERRNO | ENOSYS
            );
        }
        assert_eq!(
            execute(&program, native, u32::MAX, [0; 6]),
            RET_ERRNO | ENOSYS
        );
    }

    #[test]
    fn every_comparison_in_both_widths() {
        for value in BOUNDARIES {
            for compare in [
                Compare::Equal(value),
                Compare::NotEqual(value),
                Compare::Less(value),
                Compare::LessOrEqual(value),
                Compare::Greater(value),
                Compare::GreaterOrEqual(value),
                Compare::Masked {
                    mask: 0xff_0000_00ff,
                    value: value & 0xff_0000_00ff,
                },
            ] {
                let conditions = [Condition {
                    argument: 1,
                    compare,
                }; 6];
                for width in [Width::Bits64, Width::Bits32] {
                    let mask = if width == Width::Bits64 {
                        u64::MAX
                    } else {
                        0xffff_ffff
                    };
                    if value > mask {
                        continue;
                    }
                    for count in [1, 6] {
                        let rules: Rules<'_> = vec![(&conditions[..count], Action::Allow)];
                        let program = verdict(&rules, Action::Trap, width);
                        for argument in BOUNDARIES.map(|argument| argument & mask) {
                            let holds = match compare {
                                Compare::Masked { mask: m, value: v } => {
                                    argument & m & mask == v & mask
                                }
                                other => other.holds(argument),
                            };
                            let want = if holds { RET_ALLOW } else { RET_TRAP };
                            let got = execute(&program, 0, 0, [0, argument, 0, 0, 0, 0]);
                            assert_eq!(got, want, "{compare:?} {argument:#x} {count}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn compiling_is_quick_and_short() {
        let start = Instant::now();
        let program = compile(Profile::standard(), CapabilitySet::DEFAULT).unwrap();
        let took = start.elapsed();
        println!("{} instructions in {took:?}", program.len());
        assert!(program.len() < 1500 && took.as_secs() < 5);
    }

    #[test]
    fn foreign_profiles() {
        for (text, ok) in [
            (r#"{"defaultAction":"SCMP_ACT_ALLOW"}"#, true),
            (
                r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":null}"#,
                true,
            ),
            (r#"{"defaultAction":"SCMP_ACT_NOTIFY"}"#, false),
            (
                r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"name":"a","action":"x"}]}"#,
                false,
            ),
            ("[]", false),
            ("", false),
        ] {
            assert_eq!(Profile::parse(text.as_bytes()).is_ok(), ok, "{text}");
        }
    }
}
