//! `containers`: the working containers.

use anyhow::Context as _;
use builder::container::{ContainerEntry, WorkingContainer};
use store::Images;

use crate::args::GlobalArgs;
use crate::failure::Failure;
use crate::format::table;
use crate::format::template::Template;
use crate::format::value::GoValue;
use crate::host;
use crate::ui::Ui;
use crate::world::World;

/// Arguments of `containers`.
#[derive(Debug, clap::Args)]
pub struct ContainersArgs {
    /// Also list containers that other tools made
    #[arg(long, short = 'a')]
    all: bool,
    /// List those only that match id=, name= or ancestor=
    #[arg(long, short = 'f', value_name = "FILTER[,FILTER…]")]
    filter: Option<String>,
    /// Print with a Go template: .ContainerID .Builder .ImageID .ImageName .ContainerName
    #[arg(long, value_name = "TEMPLATE")]
    format: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Leave out the heading
    #[arg(long, short = 'n')]
    noheading: bool,
    /// Print whole identifiers
    #[arg(long)]
    notruncate: bool,
    /// Print identifiers only
    #[arg(long, short = 'q')]
    quiet: bool,
    /// Not taken by this command
    #[arg(hide = true)]
    rest: Vec<String>,
}

/// Lists working containers in the order of their making.
pub fn run(
    args: &ContainersArgs,
    global: &GlobalArgs,
    world: &World,
    ui: &Ui,
) -> Result<(), Failure> {
    if !args.rest.is_empty() {
        return Err(anyhow::anyhow!("'buildah containers' does not accept arguments").into());
    }
    if args.quiet && args.format.is_some() {
        return Err(anyhow::anyhow!("quiet and format are mutually exclusive").into());
    }
    let store = host::open_store(global, world, ui)?;
    let listed = WorkingContainer::list(&store)?;
    let filters = match &args.filter {
        Some(texts) => texts.split(',').map(Filter::parse).collect(),
        None => Ok(Vec::new()),
    };
    let filters: Vec<_> = filters.map_err(|failure: Failure| failure.context("parsing filter"))?;
    let mut rows = Vec::new();
    let images = store.images()?;
    for entry in listed {
        let row = Row::of(&entry, &images);
        if (row.is_builder || args.all) && filters.iter().all(|filter| filter.matches(&row)) {
            rows.push(row);
        }
    }
    if args.json {
        let list: Vec<_> = rows
            .iter()
            .map(|row| Shown {
                id: &row.id,
                builder: row.is_builder,
                imageid: &row.image_id,
                imagename: &row.image_name,
                containername: &row.name,
            })
            .collect();
        ui.line(crate::format::go_indented(&list));
        return Ok(());
    }
    if args.quiet {
        for row in &rows {
            ui.line(&row.id);
        }
        return Ok(());
    }
    print_rows(args, &rows, ui)
}

fn print_rows(args: &ContainersArgs, rows: &[Row], ui: &Ui) -> Result<(), Failure> {
    let cut = |text: &str| {
        if args.notruncate {
            text.to_owned()
        } else {
            text.chars().take(12).collect()
        }
    };
    if let Some(format) = args.format.as_deref().filter(|format| !format.is_empty()) {
        return print_formatted(format, rows, ui);
    }
    let (width, gap) = if args.notruncate { (64, 1) } else { (12, 2) };
    let line = |cells: [&str; 5]| {
        let [container, builder, image, image_name, name] = cells;
        ui.line(format_args!(
            "{container:width$}{:gap$}{builder:8} {image:width$} {image_name:32} {name}",
            ""
        ));
    };
    if !args.noheading {
        line([
            "CONTAINER ID",
            "BUILDER",
            "IMAGE ID",
            "IMAGE NAME",
            "CONTAINER NAME",
        ]);
    }
    for row in rows {
        let builder = if row.is_builder { "   *" } else { "" };
        let (id, image) = (cut(&row.id), cut(&row.image_id));
        line([&id, builder, &image, &row.image_name, &row.name]);
    }
    Ok(())
}

/// Prints with a template; `table` in front of it asks for a heading. Identifiers are whole.
fn print_formatted(format: &str, rows: &[Row], ui: &Ui) -> Result<(), Failure> {
    let (format, heading) = match format.strip_prefix("table") {
        Some(rest) => (rest.trim_start(), true),
        None => (format, false),
    };
    let wrong = "Template parsing error";
    let template = Template::parse(&format.replace("}} {{", "}}\t{{")).context(wrong)?;
    let mut text = Vec::new();
    let shown = rows.iter().map(|row| {
        let builder = if row.is_builder { "   *" } else { "" };
        [&row.id, builder, &row.image_id, &row.image_name, &row.name].map(str::to_owned)
    });
    let names = [
        "CONTAINER ID",
        "BUILDER",
        "IMAGE ID",
        "IMAGE NAME",
        "CONTAINER NAME",
    ];
    let names = heading.then(|| names.map(str::to_owned));
    for cells in names.into_iter().chain(shown) {
        let fields = [
            "ContainerID",
            "Builder",
            "ImageID",
            "ImageName",
            "ContainerName",
        ]
        .map(str::to_owned);
        let value = fields
            .into_iter()
            .zip(cells.map(serde_json::Value::from))
            .collect();
        let value = GoValue::record("main.containerOutputParams", &value);
        let line = template.render(value).context(wrong)?;
        text.extend(line.split('\n').map(str::to_owned));
    }
    ui.out(table::align(&text));
    Ok(())
}

/// A container as JSON has it: the order of the fields is Buildah's.
#[derive(serde::Serialize)]
struct Shown<'a> {
    id: &'a str,
    builder: bool,
    imageid: &'a str,
    imagename: &'a str,
    containername: &'a str,
}

/// A container with what the table shows of it.
struct Row {
    id: String,
    is_builder: bool,
    image_id: String,
    image_name: String,
    name: String,
}

impl Row {
    fn of(entry: &ContainerEntry, images: &Images) -> Self {
        let id = entry.record.id.to_string();
        if let Some(state) = &entry.state {
            let image_name = if state.image_id.is_empty() {
                "scratch"
            } else {
                state.image.as_str()
            };
            return Self {
                id,
                is_builder: true,
                image_id: state.image_id.clone(),
                image_name: image_name.to_owned(),
                name: state.container_name.clone(),
            };
        }
        let image = entry.record.image.as_ref();
        let names = image
            .and_then(|image| images.get(image))
            .map(|image| image.names.clone());
        Self {
            id,
            is_builder: false,
            image_id: image.map(ToString::to_string).unwrap_or_default(),
            image_name: names
                .unwrap_or_default()
                .into_iter()
                .next()
                .unwrap_or_default(),
            name: entry.record.names.first().cloned().unwrap_or_default(),
        }
    }
}

enum Filter {
    Id(String),
    Name(String),
    Ancestor(String),
}

impl Filter {
    fn parse(text: &str) -> Result<Self, Failure> {
        match text.split_once('=') {
            Some(("id", value)) => Ok(Self::Id(value.to_owned())),
            Some(("name", value)) => Ok(Self::Name(value.to_owned())),
            Some(("ancestor", value)) => Ok(Self::Ancestor(value.to_owned())),
            Some((name, _)) => Err(anyhow::anyhow!("invalid filter {name:?}").into()),
            None => Err(anyhow::anyhow!(
                "incorrect filter value {text:?}, should be of form filter=value"
            )
            .into()),
        }
    }

    fn matches(&self, row: &Row) -> bool {
        match self {
            Self::Id(prefix) => row.id.starts_with(prefix),
            Self::Name(part) => row.name.contains(part),
            Self::Ancestor(image) => row.image_name.contains(image) || row.image_id.contains(image),
        }
    }
}
