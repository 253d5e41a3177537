//! Makes the Rust types of the services between processes. Needs `protoc`.

fn main() -> std::io::Result<()> {
    // Connections are the users' own (crate fabric): no transport is generated.
    tonic_prost_build::configure().build_transport(false).compile_protos(
        &[
            "kcp/fabric/v1/index.proto",
            "kcp/fabric/v1/lookup.proto",
            "kcp/fabric/v1/replicate.proto",
            "kcp/fabric/v1/views.proto",
        ],
        &["."],
    )
}
