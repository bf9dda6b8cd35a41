/** What names of models and datasets are made of, told where one is asked for. */
export const NAME_RULE = "a-z, 0-9, '.', '_' and '-', and first a letter or digit; it never changes";

/** The hub's violation of a name; of its pattern, in words. */
export const nameWrong = (violation: string | undefined) =>
  violation && (/regex/.test(violation) ? `must be of ${NAME_RULE.split(";")[0]}` : violation);
