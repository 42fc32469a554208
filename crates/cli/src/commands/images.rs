//! `images`: what is in the store.

mod filter;

use std::collections::HashSet;
use std::sync::Arc;

use anyhow::Context as _;
use serde_json::{Value, json};
use store::{ImageRecord, Images, Store};
use transfer::NameRules;

use crate::args::GlobalArgs;
use crate::failure::Failure;
use crate::format::shape::{FieldShape, Place, Shape, StructShape};
use crate::format::template::Template;
use crate::format::{human, table};
use crate::host;
use crate::host::family::Parents;
use crate::ui::Ui;
use crate::world::World;
use filter::{Filters, Listed, Surroundings};

/// Arguments of `images`.
#[derive(Debug, clap::Args)]
pub struct ImagesArgs {
    /// Also list unnamed images that others are built on
    #[arg(long, short = 'a')]
    all: bool,
    /// Show digests
    #[arg(long)]
    digests: bool,
    /// List those only that match: after, before, containers, dangling, digest, id, intermediate, label, manifest,
    /// readonly, reference, since or until, with = or != and a value
    #[arg(long, short = 'f', value_name = "FILTER", value_delimiter = ',')]
    filter: Vec<String>,
    /// Print with a Go template: .ID .Name .Tag .Digest .Created .CreatedAt .CreatedAtRaw .Size .History .ReadOnly
    #[arg(long, value_name = "TEMPLATE")]
    format: Option<String>,
    /// Show the names that an image had before
    #[arg(long)]
    history: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Print whole identifiers
    #[arg(long)]
    no_trunc: bool,
    /// Leave out the heading
    #[arg(long, short = 'n')]
    noheading: bool,
    /// Print identifiers only
    #[arg(long, short = 'q')]
    quiet: bool,
    /// The image to list; all without it
    image: Vec<String>,
}

/// Lists images, newest first, a line for each name.
pub fn run(args: &ImagesArgs, global: &GlobalArgs, world: &World, ui: &Ui) -> Result<(), Failure> {
    let format = args.format.as_deref().filter(|format| !format.is_empty());
    if args.all && !args.image.is_empty() {
        return Err(anyhow::anyhow!(
            "when using the --all switch, you may not pass any images names or IDs"
        )
        .into());
    }
    if args.image.len() > 1 {
        return Err(anyhow::anyhow!("'buildah images' requires at most 1 argument").into());
    }
    if args.quiet && format.is_some() {
        return Err(anyhow::anyhow!("quiet and format are mutually exclusive").into());
    }
    // A plain list asks for no name, and need not know how the host resolves short ones.
    let rules = if args.image.is_empty() && args.filter.is_empty() {
        NameRules::default()
    } else {
        host::short_names::rules(global, world, ui)?
    };
    let store = host::open_store(global, world, ui)?;
    let images = store.images()?;
    let parents = Parents::of(&store, &images)?;
    let around = Surroundings {
        store: &store,
        rules: &rules,
        parents: &parents,
        now: world.now(),
    };
    let mut rows = Vec::new();
    for listed in choose(args, &images, &around)? {
        rows.push(Row::of(&store, listed, around.now.unix_seconds())?);
    }
    if args.json {
        let list: Vec<Shown> = rows.iter().map(|row| row.json(args)).collect();
        ui.line(crate::format::go_indented(&list));
        return Ok(());
    }
    rows.sort_by_key(|row| std::cmp::Reverse(row.image.created.timestamp()));
    if args.quiet {
        let mut seen = HashSet::new();
        for row in rows.iter().filter(|row| seen.insert(row.image.id.clone())) {
            ui.line(row.id(args));
        }
        return Ok(());
    }
    match format {
        Some(format) => {
            ui.out(filled(format, args, &rows).context("Template parsing error")?);
        }
        None => print_table(args, &rows, ui),
    }
    Ok(())
}

/// The images of the command line that are to be listed, in the order of the store.
fn choose(
    args: &ImagesArgs,
    images: &Images,
    around: &Surroundings<'_>,
) -> Result<Vec<Listed>, Failure> {
    let mut words: Vec<&str> = args.filter.iter().map(String::as_str).collect();
    words.retain(|word| !word.is_empty());
    if !args.all {
        words.push("intermediate=false");
    }
    let candidates = match args.image.first() {
        None => images.iter().map(Arc::clone).collect(),
        Some(text) => vec![host::find_image(around.store, text, around.rules)?],
    };
    Filters::parse(&words, around)?.choose(candidates)
}

/// The images in the form that a template gives, which has a heading if it begins with `table`.
fn filled(format: &str, args: &ImagesArgs, rows: &[Row]) -> anyhow::Result<String> {
    let (heading, format) = match format.strip_prefix("table ") {
        Some(rest) => (true, rest),
        None => (false, format),
    };
    let format = format.replace("}} {{", "}}\t{{").replace("\\t", "\t");
    let template = Template::parse(&format)?;
    let mut text = Vec::new();
    if heading {
        text.push(template.render(headings())?);
    }
    for line in rows.iter().flat_map(|row| row.lines(args)) {
        text.push(template.render(LINE.read(&line))?);
    }
    let lines = text.iter().flat_map(|row| row.split('\n'));
    Ok(table::align(&lines.map(str::to_owned).collect::<Vec<_>>()))
}

fn print_table(args: &ImagesArgs, rows: &[Row], ui: &Ui) {
    let mut columns = vec!["Name", "Tag", "ID", "CreatedAt", "Size"];
    if args.digests {
        columns.insert(2, "Digest");
    }
    if args.history {
        columns.push("History");
    }
    let cells = |line: &Value| {
        columns
            .iter()
            .map(|column| line[*column].as_str().unwrap_or_default())
            .collect::<Vec<_>>()
            .join("\t")
    };
    let mut text = Vec::new();
    if !args.noheading {
        text.push(cells(&headings()));
    }
    let lines = rows.iter().flat_map(|row| row.lines(args));
    text.extend(lines.map(|line| cells(&line)));
    ui.out(table::align(&text));
}

/// What Buildah gives its templates for each line.
const LINE: Shape = Shape::Struct(&StructShape {
    name: "main.imageOutputParams",
    fields: &[
        FieldShape("Tag", Place::Key("Tag"), Shape::Text),
        FieldShape("ID", Place::Key("ID"), Shape::Text),
        FieldShape("Name", Place::Key("Name"), Shape::Text),
        FieldShape("Digest", Place::Key("Digest"), Shape::Text),
        FieldShape("Created", Place::Key("Created"), Shape::Int),
        FieldShape("CreatedAt", Place::Key("CreatedAt"), Shape::Text),
        FieldShape("Size", Place::Key("Size"), Shape::Text),
        FieldShape("CreatedAtRaw", Place::Key("CreatedAtRaw"), Shape::Time),
        FieldShape("ReadOnly", Place::Key("ReadOnly"), Shape::Bool),
        FieldShape("History", Place::Key("History"), Shape::Text),
    ],
});

fn headings() -> Value {
    json!({
        "Name": "REPOSITORY", "Tag": "TAG", "Digest": "DIGEST", "ID": "IMAGE ID", "CreatedAt": "CREATED",
        "CreatedAtRaw": "CREATED", "Created": "CREATED", "Size": "SIZE", "History": "HISTORY", "ReadOnly": "R/O",
    })
}

/// An image as JSON has it: the order of the fields is Buildah's.
#[derive(serde::Serialize)]
struct Shown<'a> {
    id: String,
    names: Option<&'a [String]>,
    digest: String,
    createdat: String,
    size: String,
    created: i64,
    createdatraw: &'a str,
    readonly: bool,
    history: Option<&'a [String]>,
}

/// An image with what the table shows of it.
struct Row {
    image: Arc<ImageRecord>,
    names: Vec<String>,
    bytes: u64,
    created: i64,
    age: i64,
}

impl Row {
    fn of(store: &Store, listed: Listed, now: i64) -> Result<Self, Failure> {
        let Listed { image, names } = listed;
        let created = image
            .created
            .timestamp()
            .map_or(0, |time| time.unix_seconds());
        let bytes = host::image_size(store, &image)?;
        Ok(Self {
            image,
            names,
            bytes,
            created,
            age: now - created,
        })
    }

    fn id(&self, args: &ImagesArgs) -> String {
        let id = &self.image.id;
        if args.no_trunc {
            format!("sha256:{id}")
        } else {
            id.short().to_owned()
        }
    }

    /// The names that the image had besides the one of the line.
    fn history(&self, name: &str, tag: &str) -> String {
        let history = self.image.names_history.as_slice();
        let others = match history.split_first() {
            Some((first, others)) if *first == format!("{name}:{tag}") => others,
            _ => history,
        };
        match others {
            [] => "<none>".to_owned(),
            others => others.join(", "),
        }
    }

    /// A line for each name, or one for an image without a name.
    fn lines(&self, args: &ImagesArgs) -> Vec<Value> {
        let names: Vec<(String, String)> = if self.names.is_empty() {
            vec![("<none>".to_owned(), "<none>".to_owned())]
        } else {
            self.names
                .iter()
                .map(|name| repository_and_tag(name))
                .collect()
        };
        let digest = self
            .image
            .digest
            .as_ref()
            .map_or_else(|| "<none>".to_owned(), ToString::to_string);
        let line = |(name, tag): (String, String)| {
            let history = self.history(&name, &tag);
            json!({
                "Name": name, "Tag": tag, "Digest": digest, "ID": self.id(args),
                "Created": self.created, "CreatedAt": human::age(self.age),
                "CreatedAtRaw": self.image.created.as_str(), "Size": human::size(self.bytes),
                "History": history, "ReadOnly": false,
            })
        };
        names.into_iter().map(line).collect()
    }

    fn json(&self, args: &ImagesArgs) -> Shown<'_> {
        let id = if args.no_trunc {
            self.id(args)
        } else {
            self.image.id.short().to_owned()
        };
        let digest = self.image.digest.as_ref().map(ToString::to_string);
        Shown {
            id,
            names: (!self.names.is_empty()).then_some(self.names.as_slice()),
            digest: digest.unwrap_or_default(),
            createdat: human::age(self.age),
            size: human::size(self.bytes),
            created: self.created,
            createdatraw: self.image.created.as_str(),
            readonly: false,
            history: args.history.then_some(self.image.names_history.as_slice()),
        }
    }
}

/// Splits a stored name; one with a digest has no tag to show.
fn repository_and_tag(name: &str) -> (String, String) {
    match model::Reference::parse_normalized(name) {
        Ok(reference) => (
            reference.name(),
            reference.tag().unwrap_or("<none>").to_owned(),
        ),
        Err(_) => (name.to_owned(), "<none>".to_owned()),
    }
}
