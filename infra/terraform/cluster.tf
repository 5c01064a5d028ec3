# A node pool in each of three zones, because a volume stays in its zone.
data "aws_availability_zones" "here" {
  state = "available"
}

locals {
  zones = slice(data.aws_availability_zones.here.names, 0, 3)
}

module "network" {
  source  = "terraform-aws-modules/vpc/aws"
  version = "~> 6.0"

  name               = "souk"
  cidr               = "10.0.0.0/16"
  azs                = local.zones
  private_subnets    = ["10.0.0.0/19", "10.0.32.0/19", "10.0.64.0/19"]
  public_subnets     = ["10.0.96.0/24", "10.0.97.0/24", "10.0.98.0/24"]
  enable_nat_gateway = true

  private_subnet_tags = { "kubernetes.io/role/internal-elb" = 1 }
  public_subnet_tags  = { "kubernetes.io/role/elb" = 1 }
}

module "cluster" {
  source  = "terraform-aws-modules/eks/aws"
  version = "~> 21.0"

  name                                     = "souk"
  kubernetes_version                       = "1.35"
  endpoint_public_access                   = true
  enable_cluster_creator_admin_permissions = true
  vpc_id                                   = module.network.vpc_id
  subnet_ids                               = module.network.private_subnets

  addons = {
    coredns                = {}
    kube-proxy             = {}
    metrics-server         = {}
    eks-pod-identity-agent = { before_compute = true }
    vpc-cni = {
      before_compute       = true
      configuration_values = jsonencode({ enableNetworkPolicy = "true" })
    }
    aws-ebs-csi-driver = {
      pod_identity_association = [{
        role_arn        = module.identity["volumes"].iam_role_arn
        service_account = "ebs-csi-controller-sa"
      }]
    }
  }

  eks_managed_node_groups = {
    for number, zone in local.zones : zone => {
      subnet_ids     = [module.network.private_subnets[number]]
      instance_types = ["m7i.xlarge"]
      min_size       = 1
      desired_size   = 2
      max_size       = 6
    }
  }
}

# What pods may do at AWS, by what they are for.
module "identity" {
  source   = "terraform-aws-modules/eks-pod-identity/aws"
  version  = "~> 2.0"
  for_each = toset(["volumes", "names", "certificates", "secrets"])

  name                          = "souk-${each.key}"
  attach_aws_ebs_csi_policy     = each.key == "volumes"
  attach_external_dns_policy    = each.key == "names"
  external_dns_hosted_zone_arns = [data.aws_route53_zone.people.arn]
  attach_cert_manager_policy    = each.key == "certificates"
  cert_manager_hosted_zone_arns = [data.aws_route53_zone.people.arn]

  attach_external_secrets_policy        = each.key == "secrets"
  external_secrets_secrets_manager_arns = ["arn:aws:secretsmanager:${var.region}:*:secret:souk/*"]
}

locals {
  accounts = {
    names        = { namespace = "external-dns", service_account = "external-dns" }
    certificates = { namespace = "cert-manager", service_account = "cert-manager" }
    secrets      = { namespace = "external-secrets", service_account = "external-secrets" }
  }
}

resource "aws_eks_pod_identity_association" "account" {
  for_each = local.accounts

  cluster_name    = module.cluster.cluster_name
  namespace       = each.value.namespace
  service_account = each.value.service_account
  role_arn        = module.identity[each.key].iam_role_arn
}
