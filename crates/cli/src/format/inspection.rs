//! The Go types behind what `inspect` prints, whose names templates use.

use super::shape::{FieldShape, Place, Shape, StructShape};

use Place::{Here, Key};
use Shape::{Any, Bool, Duration, Int, List, Map, Pointer, Struct, Text, Time};

/// `buildah.BuilderInfo`.
pub const BUILDER_INFO: Shape = Struct(&StructShape {
    name: "buildah.BuilderInfo",
    fields: &[
        FieldShape("Type", Key("Type"), Text),
        FieldShape("FromImage", Key("FromImage"), Text),
        FieldShape("FromImageID", Key("FromImageID"), Text),
        FieldShape("FromImageDigest", Key("FromImageDigest"), Text),
        FieldShape("GroupAdd", Key("GroupAdd"), List(&Text)),
        FieldShape("Config", Key("Config"), Text),
        FieldShape("Manifest", Key("Manifest"), Text),
        FieldShape("Container", Key("Container"), Text),
        FieldShape("ContainerID", Key("ContainerID"), Text),
        FieldShape("MountPoint", Key("MountPoint"), Text),
        FieldShape("ProcessLabel", Key("ProcessLabel"), Text),
        FieldShape("MountLabel", Key("MountLabel"), Text),
        FieldShape("ImageAnnotations", Key("ImageAnnotations"), Map(&Text)),
        FieldShape("ImageCreatedBy", Key("ImageCreatedBy"), Text),
        FieldShape("OCIv1", Key("OCIv1"), Struct(&OCI_IMAGE)),
        FieldShape("Docker", Key("Docker"), Struct(&DOCKER_IMAGE)),
        FieldShape("DefaultMountsFilePath", Key("DefaultMountsFilePath"), Text),
        FieldShape("Isolation", Key("Isolation"), Text),
        FieldShape(
            "NamespaceOptions",
            Key("NamespaceOptions"),
            List(&Struct(&NAMESPACE)),
        ),
        FieldShape("Capabilities", Key("Capabilities"), List(&Text)),
        FieldShape("ConfigureNetwork", Key("ConfigureNetwork"), Text),
        FieldShape("CNIPluginPath", Key("CNIPluginPath"), Text),
        FieldShape("CNIConfigDir", Key("CNIConfigDir"), Text),
        FieldShape(
            "IDMappingOptions",
            Key("IDMappingOptions"),
            Struct(&ID_MAPPING),
        ),
        FieldShape("History", Key("History"), List(&Struct(&OCI_HISTORY))),
        FieldShape("Devices", Key("Devices"), List(&Any)),
    ],
});

static NAMESPACE: StructShape = StructShape {
    name: "define.NamespaceOption",
    fields: &[
        FieldShape("Name", Key("Name"), Text),
        FieldShape("Host", Key("Host"), Bool),
        FieldShape("Path", Key("Path"), Text),
    ],
};

static ID_MAPPING: StructShape = StructShape {
    name: "define.IDMappingOptions",
    fields: &[
        FieldShape("HostUIDMapping", Key("HostUIDMapping"), Bool),
        FieldShape("HostGIDMapping", Key("HostGIDMapping"), Bool),
        FieldShape("UIDMap", Key("UIDMap"), List(&Struct(&ID_MAP))),
        FieldShape("GIDMap", Key("GIDMap"), List(&Struct(&ID_MAP))),
        FieldShape("AutoUserNs", Key("AutoUserNs"), Bool),
        FieldShape(
            "AutoUserNsOpts",
            Key("AutoUserNsOpts"),
            Struct(&AUTO_USER_NAMESPACE),
        ),
    ],
};

static ID_MAP: StructShape = StructShape {
    name: "specs.LinuxIDMapping",
    fields: &[
        FieldShape("ContainerID", Key("containerID"), Int),
        FieldShape("HostID", Key("hostID"), Int),
        FieldShape("Size", Key("size"), Int),
    ],
};

static AUTO_USER_NAMESPACE: StructShape = StructShape {
    name: "types.AutoUserNsOptions",
    fields: &[
        FieldShape("Size", Key("Size"), Int),
        FieldShape("InitialSize", Key("InitialSize"), Int),
        FieldShape("PasswdFile", Key("PasswdFile"), Text),
        FieldShape("GroupFile", Key("GroupFile"), Text),
        FieldShape(
            "AdditionalUIDMappings",
            Key("AdditionalUIDMappings"),
            List(&Any),
        ),
        FieldShape(
            "AdditionalGIDMappings",
            Key("AdditionalGIDMappings"),
            List(&Any),
        ),
    ],
};

static OCI_IMAGE: StructShape = StructShape {
    name: "v1.Image",
    fields: &[
        FieldShape("Created", Key("created"), Pointer(&Time)),
        FieldShape("Author", Key("author"), Text),
        FieldShape("Platform", Here, Struct(&OCI_PLATFORM)),
        FieldShape("Config", Key("config"), Struct(&OCI_CONFIG)),
        FieldShape("RootFS", Key("rootfs"), Struct(&ROOT_FS)),
        FieldShape("History", Key("history"), List(&Struct(&OCI_HISTORY))),
    ],
};

static OCI_PLATFORM: StructShape = StructShape {
    name: "v1.Platform",
    fields: &[
        FieldShape("Architecture", Key("architecture"), Text),
        FieldShape("OS", Key("os"), Text),
        FieldShape("OSVersion", Key("os.version"), Text),
        FieldShape("OSFeatures", Key("os.features"), List(&Text)),
        FieldShape("Variant", Key("variant"), Text),
    ],
};

static OCI_CONFIG: StructShape = StructShape {
    name: "v1.ImageConfig",
    fields: &[
        FieldShape("User", Key("User"), Text),
        FieldShape("ExposedPorts", Key("ExposedPorts"), Map(&Struct(&EMPTY))),
        FieldShape("Env", Key("Env"), List(&Text)),
        FieldShape("Entrypoint", Key("Entrypoint"), List(&Text)),
        FieldShape("Cmd", Key("Cmd"), List(&Text)),
        FieldShape("Volumes", Key("Volumes"), Map(&Struct(&EMPTY))),
        FieldShape("WorkingDir", Key("WorkingDir"), Text),
        FieldShape("Labels", Key("Labels"), Map(&Text)),
        FieldShape("StopSignal", Key("StopSignal"), Text),
        FieldShape("ArgsEscaped", Key("ArgsEscaped"), Bool),
    ],
};

static EMPTY: StructShape = StructShape {
    name: "struct {}",
    fields: &[],
};

static ROOT_FS: StructShape = StructShape {
    name: "v1.RootFS",
    fields: &[
        FieldShape("Type", Key("type"), Text),
        FieldShape("DiffIDs", Key("diff_ids"), List(&Text)),
    ],
};

static OCI_HISTORY: StructShape = StructShape {
    name: "v1.History",
    fields: &[
        FieldShape("Created", Key("created"), Pointer(&Time)),
        FieldShape("CreatedBy", Key("created_by"), Text),
        FieldShape("Author", Key("author"), Text),
        FieldShape("Comment", Key("comment"), Text),
        FieldShape("EmptyLayer", Key("empty_layer"), Bool),
    ],
};

static DOCKER_IMAGE: StructShape = StructShape {
    name: "docker.V2Image",
    fields: &[
        FieldShape("V1Image", Here, Struct(&DOCKER_V1_IMAGE)),
        FieldShape("RootFS", Key("rootfs"), Pointer(&Struct(&ROOT_FS))),
        FieldShape("History", Key("history"), List(&Struct(&DOCKER_HISTORY))),
        FieldShape("OSVersion", Key("os.version"), Text),
        FieldShape("OSFeatures", Key("os.features"), List(&Text)),
    ],
};

static DOCKER_V1_IMAGE: StructShape = StructShape {
    name: "docker.V1Image",
    fields: &[
        FieldShape("ID", Key("id"), Text),
        FieldShape("Parent", Key("parent"), Text),
        FieldShape("Comment", Key("comment"), Text),
        FieldShape("Created", Key("created"), Time),
        FieldShape("Container", Key("container"), Text),
        FieldShape(
            "ContainerConfig",
            Key("container_config"),
            Struct(&DOCKER_CONFIG),
        ),
        FieldShape("DockerVersion", Key("docker_version"), Text),
        FieldShape("Author", Key("author"), Text),
        FieldShape("Config", Key("config"), Pointer(&Struct(&DOCKER_CONFIG))),
        FieldShape("Architecture", Key("architecture"), Text),
        FieldShape("Variant", Key("variant"), Text),
        FieldShape("OS", Key("os"), Text),
        FieldShape("Size", Key("Size"), Int),
    ],
};

static DOCKER_CONFIG: StructShape = StructShape {
    name: "docker.Config",
    fields: &[
        FieldShape("Hostname", Key("Hostname"), Text),
        FieldShape("Domainname", Key("Domainname"), Text),
        FieldShape("User", Key("User"), Text),
        FieldShape("AttachStdin", Key("AttachStdin"), Bool),
        FieldShape("AttachStdout", Key("AttachStdout"), Bool),
        FieldShape("AttachStderr", Key("AttachStderr"), Bool),
        FieldShape("ExposedPorts", Key("ExposedPorts"), Map(&Struct(&EMPTY))),
        FieldShape("Tty", Key("Tty"), Bool),
        FieldShape("OpenStdin", Key("OpenStdin"), Bool),
        FieldShape("StdinOnce", Key("StdinOnce"), Bool),
        FieldShape("Env", Key("Env"), List(&Text)),
        FieldShape("Cmd", Key("Cmd"), List(&Text)),
        FieldShape(
            "Healthcheck",
            Key("Healthcheck"),
            Pointer(&Struct(&HEALTHCHECK)),
        ),
        FieldShape("ArgsEscaped", Key("ArgsEscaped"), Bool),
        FieldShape("Image", Key("Image"), Text),
        FieldShape("Volumes", Key("Volumes"), Map(&Struct(&EMPTY))),
        FieldShape("WorkingDir", Key("WorkingDir"), Text),
        FieldShape("Entrypoint", Key("Entrypoint"), List(&Text)),
        FieldShape("NetworkDisabled", Key("NetworkDisabled"), Bool),
        FieldShape("MacAddress", Key("MacAddress"), Text),
        FieldShape("OnBuild", Key("OnBuild"), List(&Text)),
        FieldShape("Labels", Key("Labels"), Map(&Text)),
        FieldShape("StopSignal", Key("StopSignal"), Text),
        FieldShape("StopTimeout", Key("StopTimeout"), Pointer(&Int)),
        FieldShape("Shell", Key("Shell"), List(&Text)),
    ],
};

static HEALTHCHECK: StructShape = StructShape {
    name: "docker.HealthConfig",
    fields: &[
        FieldShape("Test", Key("Test"), List(&Text)),
        FieldShape("Interval", Key("Interval"), Duration),
        FieldShape("Timeout", Key("Timeout"), Duration),
        FieldShape("StartPeriod", Key("StartPeriod"), Duration),
        FieldShape("StartInterval", Key("StartInterval"), Duration),
        FieldShape("Retries", Key("Retries"), Int),
    ],
};

static DOCKER_HISTORY: StructShape = StructShape {
    name: "docker.V2S2History",
    fields: &[
        FieldShape("Created", Key("created"), Time),
        FieldShape("Author", Key("author"), Text),
        FieldShape("CreatedBy", Key("created_by"), Text),
        FieldShape("Comment", Key("comment"), Text),
        FieldShape("EmptyLayer", Key("empty_layer"), Bool),
    ],
};
