//! The default profile: Podman's, restated as a table.
//!
//! Same rules as `seccomp.json` of containers-common 0.50; a test compares every verdict with that
//! file. System calls that the table does not know fail with `ENOSYS`, so that C libraries fall
//! back to older ones.

use super::{Action, Compare, Condition, Profile, Rule};
use crate::Capability;

/// Allowed for everybody, whatever the arguments.
const ALLOWED: &str = "\
     _llseek _newselect accept accept4 access adjtimex alarm bind brk capget capset chdir \
     chmod chown chown32 clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 \
     clock_gettime clock_gettime64 clock_nanosleep clock_nanosleep_time64 clone clone3 close \
     close_range connect copy_file_range creat dup dup2 dup3 epoll_create epoll_create1 \
     epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd \
     eventfd2 execve execveat exit exit_group faccessat faccessat2 fadvise64 fadvise64_64 \
     fallocate fanotify_mark fchdir fchmod fchmodat fchown fchown32 fchownat fcntl fcntl64 \
     fdatasync fgetxattr flistxattr flock fork fremovexattr fsconfig fsetxattr fsmount fsopen \
     fspick fstat fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64 futex \
     futex_time64 futimesat get_mempolicy get_robust_list get_thread_area getcpu getcwd \
     getdents getdents64 getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups \
     getgroups32 getitimer getpeername getpgid getpgrp getpid getppid getpriority getrandom \
     getresgid getresgid32 getresuid getresuid32 getrlimit getrusage getsid getsockname \
     getsockopt gettid gettimeofday getuid getuid32 getxattr inotify_add_watch inotify_init \
     inotify_init1 inotify_rm_watch io_cancel io_destroy io_getevents io_setup io_submit \
     ioctl ioprio_get ioprio_set ipc keyctl kill landlock_add_rule landlock_create_ruleset \
     landlock_restrict_self lchown lchown32 lgetxattr link linkat listen listxattr llistxattr \
     lremovexattr lseek lsetxattr lstat lstat64 madvise mbind membarrier memfd_create \
     memfd_secret mincore mkdir mkdirat mknod mknodat mlock mlock2 mlockall mmap mmap2 mount \
     mount_setattr move_mount mprotect mq_getsetattr mq_notify mq_open mq_timedreceive \
     mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink mremap msgctl msgget \
     msgrcv msgsnd msync munlock munlockall munmap name_to_handle_at nanosleep newfstatat \
     open open_tree openat openat2 pause pidfd_getfd pidfd_open pidfd_send_signal pipe pipe2 \
     pivot_root pkey_alloc pkey_free pkey_mprotect poll ppoll ppoll_time64 prctl pread64 \
     preadv preadv2 prlimit64 process_mrelease process_vm_readv process_vm_writev pselect6 \
     pselect6_time64 ptrace pwrite64 pwritev pwritev2 read readahead readdir readlink \
     readlinkat readv reboot recv recvfrom recvmmsg recvmmsg_time64 recvmsg remap_file_pages \
     removexattr rename renameat renameat2 restart_syscall rmdir rseq rt_sigaction \
     rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait \
     rt_sigtimedwait_time64 rt_tgsigqueueinfo sched_get_priority_max sched_get_priority_min \
     sched_getaffinity sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval \
     sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam \
     sched_setscheduler sched_yield seccomp select semctl semget semop semtimedop \
     semtimedop_time64 send sendfile sendfile64 sendmmsg sendmsg sendto set_mempolicy \
     set_robust_list set_thread_area set_tid_address setfsgid setfsgid32 setfsuid setfsuid32 \
     setgid setgid32 setgroups setgroups32 setitimer setns setpgid setpriority setregid \
     setregid32 setresgid setresgid32 setresuid setresuid32 setreuid setreuid32 setrlimit \
     setsid setsockopt setuid setuid32 setxattr shmat shmctl shmdt shmget shutdown sigaction \
     sigaltstack signal signalfd signalfd4 sigpending sigprocmask sigreturn sigsuspend \
     socketcall socketpair splice stat stat64 statfs statfs64 statx symlink symlinkat sync \
     sync_file_range syncfs syscall sysinfo syslog tee tgkill time timer_create timer_delete \
     timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd \
     timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64 times \
     tkill truncate truncate64 ugetrlimit umask umount umount2 uname unlink unlinkat unshare \
     utime utimensat utimensat_time64 utimes vfork wait4 waitid waitpid write writev";

/// Refused with `EPERM`: obsolete, or about the whole machine.
const REFUSED: &str = "\
     bdflush io_pgetevents kexec_file_load kexec_load migrate_pages move_pages nfsservctl \
     nice oldfstat oldlstat oldolduname oldstat olduname pciconfig_iobase pciconfig_read \
     pciconfig_write sgetmask ssetmask swapcontext swapoff swapon sysfs uselib userfaultfd \
     ustat vm86 vm86old vmsplice";

/// Allowed on some architectures only (names as in Go).
const BY_ARCHITECTURE: &[(&[&str], &str)] = &[
    (&["ppc64le"], "sync_file_range2"),
    (
        &["arm", "arm64"],
        "arm_fadvise64_64 arm_sync_file_range breakpoint cacheflush set_tls sync_file_range2",
    ),
    (&["amd64", "x32"], "arch_prctl"),
    (&["amd64", "x32", "x86"], "modify_ldt"),
    (
        &["s390", "s390x"],
        "s390_pci_mmio_read s390_pci_mmio_write s390_runtime_instr",
    ),
];

/// Allowed to the holder of a capability, to others refused with `EPERM`.
const BY_CAPABILITY: &[(Capability, &str)] = &[
    (Capability::DacReadSearch, "open_by_handle_at"),
    (
        Capability::SysAdmin,
        "bpf fanotify_init lookup_dcookie perf_event_open quotactl setdomainname sethostname setns",
    ),
    (Capability::SysChroot, "chroot"),
    (
        Capability::SysModule,
        "delete_module finit_module init_module query_module",
    ),
    (Capability::SysPacct, "acct"),
    (Capability::SysPtrace, "kcmp process_madvise"),
    (Capability::SysRawio, "ioperm iopl"),
    (
        Capability::SysTime,
        "clock_settime clock_settime64 settimeofday stime",
    ),
    (Capability::SysTtyConfig, "vhangup"),
];

/// Execution domains that personality(2) may be asked for: Linux, UNAME26, both with 32-bit
/// addresses, and the query.
const PERSONALITIES: [u64; 5] = [0x0, 0x8, 0x20000, 0x20008, 0xffff_ffff];

const AF_NETLINK: u64 = 16;
const NETLINK_AUDIT: u64 = 9;
const EPERM: u16 = 1;
const EINVAL: u16 = 22;
const ENOSYS: u16 = 38;

/// Builds the profile.
pub(super) fn profile() -> Profile {
    let mut rules = vec![
        Rule::new(REFUSED, Action::Errno(EPERM)),
        Rule::new(ALLOWED, Action::Allow),
    ];
    for value in PERSONALITIES {
        let mut rule = Rule::new("personality", Action::Allow);
        rule.conditions.push(Condition {
            argument: 0,
            compare: Compare::Equal(value),
        });
        rules.push(rule);
    }
    for (architectures, names) in BY_ARCHITECTURE {
        let mut rule = Rule::new(names, Action::Allow);
        rule.only_architectures = architectures.iter().map(ToString::to_string).collect();
        rules.push(rule);
    }
    for (capability, names) in BY_CAPABILITY {
        let mut holder = Rule::new(names, Action::Allow);
        holder.only_with = vec![*capability];
        let mut others = Rule::new(names, Action::Errno(EPERM));
        others.only_without = vec![*capability];
        rules.extend([holder, others]);
    }
    let family = |compare| Condition {
        argument: 0,
        compare,
    };
    let protocol = |compare| Condition {
        argument: 2,
        compare,
    };
    for (conditions, action) in [
        (
            vec![
                family(Compare::Equal(AF_NETLINK)),
                protocol(Compare::Equal(NETLINK_AUDIT)),
            ],
            Action::Errno(EINVAL),
        ),
        (
            vec![protocol(Compare::NotEqual(NETLINK_AUDIT))],
            Action::Allow,
        ),
        (vec![family(Compare::NotEqual(AF_NETLINK))], Action::Allow),
    ] {
        let mut rule = Rule::new("socket", action);
        rule.conditions = conditions;
        rule.only_without = vec![Capability::AuditWrite];
        rules.push(rule);
    }
    let mut socket = Rule::new("socket", Action::Allow);
    socket.only_with = vec![Capability::AuditWrite];
    rules.push(socket);
    Profile {
        default: Action::Errno(ENOSYS),
        rules,
    }
}
