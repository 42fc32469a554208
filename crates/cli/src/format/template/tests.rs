//! What templates print. The error texts are those of Buildah 1.39.

use serde_json::json;

use super::super::inspection::BUILDER_INFO;
use super::*;

fn check(template: &str, expected: Result<&str, &str>) {
    let value = BUILDER_INFO.read(&json!({
        "Container": "foo", "FromImageID": "abc",
        "OCIv1": {"created": "2023-11-14T22:13:20Z", "architecture": "amd64", "os": "linux",
            "config": {"Env": ["A=1", "B=2"], "Labels": {"x": "y"}, "ExposedPorts": {"80/tcp": {}}},
            "rootfs": {"type": "layers", "diff_ids": ["d1"]},
            "history": [{"created": "2023-11-14T22:13:20Z", "created_by": "/bin/sh"}]},
        "Docker": {"config": {"Healthcheck": {"Test": ["CMD", "a"], "Interval": 90_000_000_000_i64, "Retries": 3}}},
    }));
    let shown = Template::of_one(template).and_then(|template| template.render(value));
    let shown = shown.map_err(|error| error.to_string());
    let expected = expected.map(str::to_owned).map_err(str::to_owned);
    assert_eq!(shown, expected, "{template}");
}

#[test]
fn fields_and_text() {
    check("{{.FromImageID}}", Ok("abc"));
    check("{{ .FromImageID }}\\n", Ok("abc\\n"));
    check("{{.OCIv1.Config.Env}}", Ok("[A=1 B=2]"));
    check("{{.OCIv1.RootFS.DiffIDs}}", Ok("[d1]"));
    check("{{.OCIv1.Config.Labels}}", Ok("map[x:y]"));
    check(
        "{{.OCIv1.Config.Labels.x}} {{.OCIv1.Config.Labels.z}}",
        Ok("y <no value>"),
    );
    check("{{.OCIv1.Config.ExposedPorts}}", Ok("map[80/tcp:{}]"));
    check(
        "{{.OCIv1.OS}} {{.OCIv1.Platform}}",
        Ok("linux {amd64 linux  [] }"),
    );
    check(
        "{{.OCIv1.History}}",
        Ok("[{2023-11-14 22:13:20 +0000 UTC /bin/sh   false}]"),
    );
    check(
        "{{.Docker.Config.Healthcheck}}",
        Ok("{[CMD a] 1m30s 0s 0s 0s 3}"),
    );
    check(
        "{{.Docker.Config.StopTimeout}}|{{.ImageAnnotations}}",
        Ok("<nil>|map[]"),
    );
    check("a {{- \"b\" -}} c{{/* d */}}", Ok("abc"));
}

#[test]
fn functions_and_pipelines() {
    check(
        "{{index .OCIv1.Config.Labels \"x\"}}{{index .OCIv1.Config.Labels \"z\"}}",
        Ok("y"),
    );
    check("{{index .OCIv1.Config.Env 1}}", Ok("B=2"));
    check("{{(index .OCIv1.History 0).CreatedBy}}", Ok("/bin/sh"));
    check("{{json .OCIv1.Config.Env}}", Ok("[\"A=1\",\"B=2\"]"));
    check("{{.OCIv1.Config.Env | json}}", Ok("[\"A=1\",\"B=2\"]"));
    check(
        "{{join .OCIv1.Config.Env \",\"}} {{len .OCIv1.Config.Env}}",
        Ok("A=1,B=2 2"),
    );
    check(
        "{{printf \"%s-%d-%v\" .Container 3 .OCIv1.Config.Env}}",
        Ok("foo-3-[A=1 B=2]"),
    );
    check("{{\"a\" | printf \"%s-%s\" \"b\"}}", Ok("b-a"));
    check(
        "{{lt 1 2}} {{ge 1 2}} {{slice .Container 1 2}} {{html \"<a>\"}} {{urlquery \"a b\"}} {{print 1 2 \"x\"}}",
        Ok("true false o &lt;a&gt; a+b 1 2x"),
    );
    check(
        "{{not true}} {{and 1 0}} {{or 0 \"x\"}} {{eq 1 2 1}} {{ne \"a\" \"b\"}}",
        Ok("false 0 x true true"),
    );
}

#[test]
fn branches_and_variables() {
    check(
        "{{range .OCIv1.Config.Env}}<{{.}}>{{end}}",
        Ok("<A=1><B=2>"),
    );
    check(
        "{{range $k, $v := .OCIv1.Config.Labels}}{{$k}}={{$v}}{{end}}",
        Ok("x=y"),
    );
    check(
        "{{range $i, $e := .OCIv1.Config.Env}}{{if $i}},{{end}}{{$e}}{{end}}",
        Ok("A=1,B=2"),
    );
    check(
        "{{range .OCIv1.Config.Env}}{{.}}{{break}}{{end}}",
        Ok("A=1"),
    );
    check("{{if .MountPoint}}yes{{else}}no{{end}}", Ok("no"));
    check(
        "{{if .MountPoint}}a{{else if .Container}}b{{else}}c{{end}}",
        Ok("b"),
    );
    check(
        "{{with .OCIv1}}{{.OS}}{{end}}{{with .MountPoint}}x{{else}}y{{end}}",
        Ok("linuxy"),
    );
    check(
        "{{$x := .Container}}{{$x}}{{$x = \"b\"}}{{$x}} {{$.Container}}",
        Ok("foob foo"),
    );
    check("{{if eq .FromImageID \"abc\"}}same{{end}}", Ok("same"));
}

#[test]
fn errors_are_go_s() {
    check(
        "{{.Nope}}",
        Err(
            "template: format:1:2: executing \"format\" at <.Nope>: can't evaluate field Nope in type buildah.BuilderInfo",
        ),
    );
    check(
        "{{.OCIv1.Nope}}",
        Err(
            "template: format:1:8: executing \"format\" at <.OCIv1.Nope>: can't evaluate field Nope in type v1.Image",
        ),
    );
    check(
        "{{.Container.Foo}}",
        Err(
            "template: format:1:12: executing \"format\" at <.Container.Foo>: can't evaluate field Foo in type string",
        ),
    );
    check(
        "{{index .OCIv1.Config.Env 7}}",
        Err(
            "template: format:1:2: executing \"format\" at <index .OCIv1.Config.Env 7>: error calling index: index out of range: 7",
        ),
    );
    check(
        "{{len 3}}",
        Err(
            "template: format:1:2: executing \"format\" at <len 3>: error calling len: len of type int",
        ),
    );
    check(
        "{{printf}}",
        Err(
            "template: format:1:2: executing \"format\" at <printf>: wrong number of args for printf: want at least 1 got 0",
        ),
    );
    check(
        "{{nope}}",
        Err("template: format:1: function \"nope\" not defined"),
    );
    check(
        "{{$nope}}",
        Err("template: format:1: undefined variable \"$nope\""),
    );
    check("{{.X", Err("template: format:1: unclosed action"));
    check(
        "{{\"x}}",
        Err("template: format:1: unterminated quoted string"),
    );
    check("{{end}}", Err("template: format:1: unexpected {{end}}"));
    check(
        "{{if}}{{end}}",
        Err("template: format:1: missing value for if"),
    );
    check(
        "{{if .Container}}",
        Err("template: format:1: unexpected EOF"),
    );
    check(
        "{{template \"x\"}}",
        Err("template: format:1: {{template}} is not supported yet"),
    );
}
