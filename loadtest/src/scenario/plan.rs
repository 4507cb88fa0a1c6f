use tidegate::program::failure::Failure;
pub fn run(_: &crate::cli::Plan) -> Result<crate::record::Record, Failure> {
    Err(Failure::usage("none"))
}
