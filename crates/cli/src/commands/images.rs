//! `images`: what is in the store.

use std::collections::HashSet;
use std::sync::Arc;

use anyhow::Context as _;
use model::Timestamp;
use serde_json::{Value, json};
use store::{ImageRecord, Images, Store};
use transfer::NameRules;

use crate::args::GlobalArgs;
use crate::failure::Failure;
use crate::format::template::Template;
use crate::format::{human, table};
use crate::host;
use crate::host::family::Parents;
use crate::ui::Ui;
use crate::world::World;

/// Arguments of `images`.
#[derive(Debug, clap::Args)]
pub struct ImagesArgs {
    /// Also list unnamed images that others are built on
    #[arg(long, short = 'a')]
    all: bool,
    /// Show digests
    #[arg(long)]
    digests: bool,
    /// List those only that match dangling=, reference=, label=, before=, since=, intermediate= or readonly=
    #[arg(long, short = 'f', value_name = "FILTER")]
    filter: Vec<String>,
    /// Print with a Go template: .ID .Name .Tag .Digest .CreatedAt .CreatedAtRaw .Size .History .ReadOnly
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
    if args.quiet && args.format.is_some() {
        return Err(anyhow::anyhow!("quiet and format are mutually exclusive").into());
    }
    if args.all && !args.image.is_empty() {
        return Err(anyhow::anyhow!(
            "when using the --all switch, you may not pass any images names or IDs"
        )
        .into());
    }
    if args.image.len() > 1 {
        return Err(anyhow::anyhow!("'buildah images' requires at most 1 argument").into());
    }
    // A plain list asks for no name, and need not know how the host resolves short ones.
    let rules = if args.image.is_empty() && args.filter.is_empty() {
        NameRules::default()
    } else {
        host::short_names::rules(global, world, ui)?
    };
    let store = host::open_store(global, world, ui)?;
    let images = store.images()?;
    let shown = choose(args, &store, &images, &rules)?;
    let now = world.now().unix_seconds();
    let rows: Vec<Row> = shown
        .iter()
        .map(|image| Row::of(&store, image, now))
        .collect::<Result<Vec<_>, _>>()?;
    if args.json {
        let list: Vec<Shown> = rows.iter().map(|row| row.json(args)).collect();
        ui.line(crate::format::go_indented(&list));
        return Ok(());
    }
    if args.quiet {
        let mut seen = HashSet::new();
        for row in rows.iter().filter(|row| seen.insert(row.image.id.clone())) {
            ui.line(row.id(args));
        }
        return Ok(());
    }
    print_table(args, &rows, ui)
}

fn print_table(args: &ImagesArgs, rows: &[Row], ui: &Ui) -> Result<(), Failure> {
    let lines = rows.iter().flat_map(|row| row.lines(args));
    if let Some(format) = &args.format {
        let (heading, format) = match format.strip_prefix("table ") {
            Some(rest) => (true, rest),
            None => (false, format.as_str()),
        };
        let template = Template::parse(&format.replace("}} {{", "}}\t{{"))?;
        let mut text = Vec::new();
        if heading && !args.noheading {
            text.push(template.render(&headings())?);
        }
        for line in lines {
            text.push(template.render(&line)?);
        }
        let text: Vec<String> = text
            .iter()
            .flat_map(|row| row.split('\n').map(str::to_owned))
            .collect();
        ui.out(table::align(&text));
        return Ok(());
    }
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
    text.extend(lines.map(|line| cells(&line)));
    ui.out(table::align(&text));
    Ok(())
}

fn headings() -> Value {
    json!({
        "Name": "REPOSITORY", "Tag": "TAG", "Digest": "DIGEST", "ID": "IMAGE ID", "CreatedAt": "CREATED",
        "CreatedAtRaw": "CREATED", "Size": "SIZE", "History": "HISTORY", "ReadOnly": "R/O", "Names": "NAMES",
    })
}

/// An image as JSON has it: the order of the fields is Buildah's.
#[derive(serde::Serialize)]
struct Shown<'a> {
    id: String,
    names: &'a [String],
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
    bytes: u64,
    created: i64,
    age: i64,
}

impl Row {
    fn of(store: &Store, image: &Arc<ImageRecord>, now: i64) -> Result<Self, Failure> {
        let created = image
            .created
            .timestamp()
            .map_or(0, |time| time.unix_seconds());
        let bytes = host::image_size(store, image)?;
        Ok(Self {
            image: Arc::clone(image),
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

    fn history(&self) -> String {
        if self.image.names_history.is_empty() {
            "<none>".to_owned()
        } else {
            self.image.names_history.join(", ")
        }
    }

    /// A line for each name, or one for an image without a name.
    fn lines(&self, args: &ImagesArgs) -> Vec<Value> {
        let names: Vec<(String, String)> = if self.image.names.is_empty() {
            vec![("<none>".to_owned(), "<none>".to_owned())]
        } else {
            self.image
                .names
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
            json!({
                "Name": name, "Tag": tag, "Digest": digest, "ID": self.id(args),
                "CreatedAt": human::age(self.age), "CreatedAtRaw": self.image.created.as_str(),
                "Size": human::size(self.bytes), "History": self.history(), "ReadOnly": false,
                "Names": self.image.names,
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
            names: &self.image.names,
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

fn choose(
    args: &ImagesArgs,
    store: &Store,
    images: &Images,
    rules: &NameRules,
) -> Result<Vec<Arc<ImageRecord>>, Failure> {
    let filters = args
        .filter
        .iter()
        .map(|text| Condition::parse(text))
        .collect::<Result<Vec<_>, _>>()?;
    let mut shown: Vec<Arc<ImageRecord>> = match args.image.first() {
        None => images.iter().map(Arc::clone).collect(),
        Some(text) => named(text, store, images, rules)?,
    };
    let parents = Parents::of(store, images)?;
    let wants_intermediate = filters
        .iter()
        .any(|condition| matches!(condition.filter, Filter::Intermediate(_)));
    if !args.all && args.image.is_empty() && !wants_intermediate {
        shown.retain(|image| !parents.is_intermediate(image));
    }
    for filter in &filters {
        let context = FilterContext {
            store,
            images,
            parents: &parents,
            rules,
        };
        let keep = shown
            .iter()
            .map(|image| Ok(filter.filter.matches(image, &context)? == filter.wanted))
            .collect::<Result<Vec<_>, Failure>>()?;
        let mut keep = keep.into_iter();
        shown.retain(|_| keep.next().unwrap_or(false));
    }
    shown.sort_by_key(|image| std::cmp::Reverse(image.created.timestamp()));
    Ok(shown)
}

/// The images that a word on the command line means: one by name or ID, or all of a repository.
fn named(
    text: &str,
    store: &Store,
    images: &Images,
    rules: &NameRules,
) -> Result<Vec<Arc<ImageRecord>>, Failure> {
    match host::find_image(store, text, rules) {
        Ok(found) => Ok(vec![found]),
        Err(missing) => {
            let of_repository = |image: &&Arc<ImageRecord>| {
                image.names.iter().any(|name| {
                    let (repository, _) = repository_and_tag(name);
                    repository == text || repository.ends_with(&format!("/{text}"))
                })
            };
            let several: Vec<_> = images
                .iter()
                .filter(of_repository)
                .map(Arc::clone)
                .collect();
            if several.is_empty() {
                Err(missing)
            } else {
                Ok(several)
            }
        }
    }
}

/// A filter that an image has to match, or (`name!=value`) not to.
struct Condition {
    filter: Filter,
    wanted: bool,
}

impl Condition {
    fn parse(text: &str) -> Result<Self, Failure> {
        let (name, value) = text.split_once('=').with_context(|| {
            format!(
                "invalid image filter \"{text}\": must be in the format \"filter=value or filter!=value\""
            )
        })?;
        Ok(Self {
            filter: Filter::parse(name.trim_end_matches('!'), value)?,
            wanted: !name.ends_with('!'),
        })
    }
}

enum Filter {
    Dangling(bool),
    Intermediate(bool),
    ReadOnly(bool),
    Reference(String),
    Label(String),
    Before(String),
    Since(String),
}

struct FilterContext<'a> {
    store: &'a Store,
    images: &'a Images,
    parents: &'a Parents,
    rules: &'a NameRules,
}

impl Filter {
    fn parse(name: &str, value: &str) -> Result<Self, Failure> {
        let yes = || {
            crate::args::go_bool(value)
                .map_err(|_| anyhow::anyhow!("non-boolean value {value:?} for {name} filter"))
        };
        let owned = || value.to_owned();
        match name {
            "dangling" => Ok(Self::Dangling(yes()?)),
            "intermediate" => Ok(Self::Intermediate(yes()?)),
            "readonly" => Ok(Self::ReadOnly(yes()?)),
            "reference" => Ok(Self::Reference(owned())),
            "label" => Ok(Self::Label(owned())),
            "before" => Ok(Self::Before(owned())),
            "since" | "after" => Ok(Self::Since(owned())),
            _ => Err(anyhow::anyhow!("unsupported image filter {name:?}").into()),
        }
    }

    fn matches(
        &self,
        image: &Arc<ImageRecord>,
        context: &FilterContext<'_>,
    ) -> Result<bool, Failure> {
        Ok(match self {
            Self::Dangling(wanted) => {
                let dangling = image.names.is_empty() && !context.parents.is_intermediate(image);
                dangling == *wanted
            }
            Self::Intermediate(wanted) => context.parents.is_intermediate(image) == *wanted,
            Self::ReadOnly(wanted) => !wanted,
            Self::Reference(pattern) => image.names.iter().any(|name| name_matches(name, pattern)),
            Self::Label(wanted) => {
                // A manifest list has no labels.
                let labels = if image.layer.is_none() && context.store.list(&image.id)?.is_some() {
                    Default::default()
                } else {
                    host::image_config(context.store, image)?.config.labels
                };
                match wanted.split_once('=') {
                    Some((key, value)) => labels.get(key).is_some_and(|found| found == value),
                    None => labels.contains_key(wanted),
                }
            }
            Self::Before(other) => image.created.timestamp() < context.created(other)?,
            Self::Since(other) => image.created.timestamp() > context.created(other)?,
        })
    }
}

impl FilterContext<'_> {
    fn created(&self, text: &str) -> Result<Option<Timestamp>, Failure> {
        let found = self.images.find(text)?.map(Arc::clone);
        let image = match found {
            Some(image) => image,
            None => host::find_image(self.store, text, self.rules)?,
        };
        Ok(image.created.timestamp())
    }
}

/// Matches a shell pattern against a name: whole, without its registry, or its repository alone.
fn name_matches(name: &str, pattern: &str) -> bool {
    let glob = |text: &str| host::shell_match(pattern, text);
    let (repository, tag) = repository_and_tag(name);
    let short = repository
        .split_once('/')
        .map_or(repository.as_str(), |(_, rest)| rest);
    let base = repository.rsplit('/').next().unwrap_or(&repository);
    [repository.as_str(), short, base]
        .iter()
        .any(|part| glob(part) || glob(&format!("{part}:{tag}")))
}
