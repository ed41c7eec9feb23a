# What the exchange may do in Vault: keep its own secrets, and nothing else. The border gets no policy: it holds no secret.
# Load it with: vault policy write brickhouse-pbx pbx.hcl
path "secret/data/brickhouse/*" {
  capabilities = ["create", "read", "update", "delete"]
}
path "secret/metadata/brickhouse/*" {
  capabilities = ["read", "list", "delete"]
}
path "secret/metadata/brickhouse" {
  capabilities = ["list"]
}
