// Validates one CycloneDX document with CycloneDX's own library: exit code 0 valid, 1 not, 2 could not tell.
const fs = require("node:fs");
const { Spec, Validation } = require("@cyclonedx/cyclonedx-library");

async function main(path) {
  const text = fs.readFileSync(path, "utf8");
  const version = JSON.parse(text).specVersion;
  const known = Object.values(Spec.Version).find((one) => one === version);
  if (!known) {
    console.error(`specVersion ${version} is not known here`);
    return 2;
  }
  const problems = await new Validation.JsonStrictValidator(known).validate(text);
  if (problems !== null) {
    console.log(JSON.stringify(problems).slice(0, 2000));
    return 1;
  }
  return 0;
}

main(process.argv[2]).then(
  (code) => process.exit(code),
  (error) => {
    console.error(String(error));
    process.exit(2);
  },
);
